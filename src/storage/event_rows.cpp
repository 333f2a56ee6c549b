#include "storage/event_rows.hpp"

#include "core/json/cursor.hpp"
#include "core/matrix/redaction.hpp"

namespace matrix_sync {

namespace {

const Statement insert_events{"event_insert", R"sql(
    INSERT INTO event (event_id, room, type, state_key, sender, origin_server_ts, body)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[])
    ON CONFLICT (event_id) DO NOTHING RETURNING event_id, ref
)sql"};

const Statement get_by_id{"event_get", R"sql(
    SELECT event_id, ref, room, unused FROM event WHERE event_id = ANY ($1::text[])
)sql"};

const Statement get_unredacted{"event_get_unredacted", R"sql(
    SELECT e.ref, e.body, coalesce(r.version, '1'), because.body, e.room, e.type, e.state_key
    FROM unnest($1::bigint[], $2::text[]) AS w (room, event_id)
    JOIN redaction x ON x.room = w.room AND x.target = w.event_id
    JOIN event e ON e.event_id = w.event_id AND e.room + 0 = w.room
    JOIN event because ON because.ref = x.ref
    JOIN room r ON r.id = w.room
    WHERE NOT e.redacted
    ORDER BY e.event_id FOR UPDATE OF e
)sql"};

const Statement set_redacted{"event_set_redacted", R"sql(
    UPDATE event SET body = w.body, redacted = true
    FROM unnest($1::bigint[], $2::bytea[]) AS w (ref, body)
    WHERE event.ref = w.ref AND NOT event.redacted
)sql"};

}  // namespace

void EventRows::add(const std::string& id, RoomKey room, const Event& event) {
    ids_.push_back(id);
    rooms_.push_back(room.value);
    types_.push_back(event.type);
    state_keys_.push_back(event.state_key);
    senders_.push_back(event.sender.value);
    times_.push_back(event.origin_server_ts);
    bodies_.push_back(event.body);
}

Query EventRows::insert(Sending& sending) const {
    Params params;
    params.texts(ids_).bigints(rooms_).texts(types_).texts(state_keys_).texts(senders_).bigints(times_).bytess(bodies_);
    return sending.ask(insert_events, std::move(params));
}

Query find_events(Sending& sending, const std::vector<std::string>& ids) {
    return sending.ask(get_by_id, std::move(Params().texts(ids)));
}

Query find_unredacted(Sending& sending, const std::vector<std::int64_t>& rooms, const std::vector<std::string>& ids) {
    return sending.ask(get_unredacted, std::move(Params().bigints(rooms).texts(ids)));
}

std::vector<RedactedEvent> redact_stored(Sending& sending, const Rows& unredacted) {
    std::vector<RedactedEvent> events;
    std::vector<std::int64_t> refs;
    std::vector<std::string> bodies;
    for (std::size_t row = 0; row < unredacted.size(); ++row) {
        RedactedEvent& event = events.emplace_back();
        event.ref = EventRef{unredacted.bigint(row, 0)};
        event.room = RoomKey{unredacted.bigint(row, 4)};
        event.type = unredacted.text(row, 5);
        event.state_key = unredacted.maybe_text(row, 6);
        refs.push_back(event.ref.value);
        try {
            bodies.push_back(redact(unredacted.text(row, 1), unredacted.text(row, 2), unredacted.text(row, 3)));
        } catch (const JsonError&) {
            bodies.push_back("{}");  // nothing of what was to be redacted may stay
        }
    }
    put_redacted(sending, refs, bodies);
    return events;
}

void put_redacted(Sending& sending, const std::vector<std::int64_t>& refs, const std::vector<std::string>& bodies) {
    if (!refs.empty()) sending.send(set_redacted, std::move(Params().bigints(refs).bytess(bodies)));
}

}  // namespace matrix_sync
