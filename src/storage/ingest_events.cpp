// Events are shared: one row whoever polled it first. Redactions change the stored row, whichever of the two comes first (rule 16).
#include <algorithm>

#include "core/classic/event.hpp"
#include "storage/event_rows.hpp"
#include "storage/ingest.hpp"
#include "storage/unused.hpp"

namespace matrix_sync {

namespace {

const Statement set_room_versions{"ingest_set_room_versions", R"sql(
    UPDATE room SET version = w.version, type = w.type
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS w (id, version, type)
    WHERE room.id = w.id AND room.version IS NULL
)sql"};

// A redaction waits here for whoever is just storing its target, and whoever stores the target later waits for the redaction: each then
// sees the other. Nobody else ever sees these rows.
const Statement delete_placeholders{"ingest_delete_placeholders", R"sql(
    DELETE FROM event WHERE event_id = ANY ($1::text[]) AND room = 0
)sql"};

const Statement insert_redactions{"ingest_insert_redactions", R"sql(
    INSERT INTO redaction (room, target, ref)
    SELECT w.room, w.target, e.ref
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS w (room, target, event_id)
    JOIN event e ON e.event_id = w.event_id AND e.room + 0 = w.room
    ORDER BY w.room, w.target
    ON CONFLICT (room, target) DO NOTHING
)sql"};

const Statement take_redacted{"ingest_take_redacted", R"sql(
    UPDATE event SET body = w.body, redacted = true
    FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS w (event_id, room, body)
    WHERE event.event_id = w.event_id AND event.room = w.room AND NOT event.redacted
    RETURNING event.ref, event.room, event.state_key IS NOT NULL
)sql"};

struct RedactionRows {
    std::vector<std::int64_t> rooms;
    std::vector<std::string> targets;
    std::vector<std::string> ids;
};

struct RedactedRows {
    std::vector<std::string> ids;
    std::vector<std::int64_t> rooms;
    std::vector<std::string> bodies;
};

template <class Each>
void each_stored_event(const RoomPart& part, Each each) {
    for (const Event& event : part.state) {
        if (event.state_key) each(event);
    }
    for (const Event& event : part.timeline) each(event);
}

}  // namespace

void Ingestion::set_versions() {
    std::map<std::int64_t, const Event*> creations;
    for (const RoomWork& work : works_) {
        if (!live(work.delivery) || !work.failure.empty() || stray(work) || kinds_[work.room].version) continue;
        for (const Step& step : work.steps) {
            const Event* creation = creation_of(*step.part);
            if (!creation) continue;
            creations[work.key.value] = creation;
            kinds_[work.room] = {creation->room_version, creation->room_type};
        }
    }
    if (creations.empty()) return;
    std::vector<std::int64_t> rooms;
    std::vector<std::string> versions;
    std::vector<std::string> types;
    for (const auto& [room, creation] : creations) {
        rooms.push_back(room);
        versions.push_back(creation->room_version);
        types.push_back(creation->room_type);
    }
    Params params;
    params.bigints(rooms).texts(versions).texts(types);
    sending_.send(set_room_versions, std::move(params));
}

/// Sends everything; none when there are no events.
std::optional<Ingestion::EventQueries> Ingestion::send_events() {
    static const Event placeholder;
    std::map<std::string, std::pair<RoomKey, const Event*>> events;
    RedactionRows redactions;
    RedactedRows redacted;
    for (const RoomWork& work : works_) {
        if (!live(work.delivery) || !work.failure.empty() || stray(work)) continue;
        for (const Step& step : work.steps) {
            each_stored_event(*step.part, [&](const Event& event) {
                events.try_emplace(event.event_id.value, work.key, &event);
                if (event.redacts && event.type == "m.room.redaction") {
                    redactions.rooms.push_back(work.key.value);
                    redactions.targets.push_back(event.redacts->value);
                    redactions.ids.push_back(event.event_id.value);
                }
                if (comes_redacted(event)) {
                    come_redacted_.insert(event.event_id.value);
                    redacted.ids.push_back(event.event_id.value);
                    redacted.rooms.push_back(work.key.value);
                    redacted.bodies.push_back(event.body);
                }
            });
        }
    }
    if (events.empty()) return std::nullopt;

    std::vector<std::int64_t> rooms = redactions.rooms;
    std::vector<std::string> ids = redactions.targets;
    for (const auto& [id, event] : events) {
        rooms.push_back(event.first.value);
        ids.push_back(id);
    }
    std::vector<std::string> placeholders;
    for (const std::string& target : redactions.targets) {
        if (events.try_emplace(target, RoomKey{}, &placeholder).second) placeholders.push_back(target);
    }
    EventRows rows;
    for (const auto& [id, event] : events) rows.add(id, event.first, *event.second);

    Query inserted_query = rows.insert(sending_);
    if (!placeholders.empty()) {
        Params params;
        params.texts(placeholders);
        sending_.send(delete_placeholders, std::move(params));
    }
    if (!redactions.ids.empty()) {
        Params params;
        params.bigints(redactions.rooms).texts(redactions.targets).texts(redactions.ids);
        sending_.send(insert_redactions, std::move(params));
    }
    std::optional<Query> taken_query;
    if (!redacted.ids.empty()) {
        Params params;
        params.texts(redacted.ids).bigints(redacted.rooms).bytess(redacted.bodies);
        taken_query.emplace(sending_.ask(take_redacted, std::move(params)));
    }
    Query found_query = find_events(sending_, rows.ids());
    return EventQueries{std::move(inserted_query), std::move(taken_query), std::move(found_query), find_unredacted(sending_, rooms, ids)};
}

void Ingestion::take_redacted_member(RoomKey room, std::string_view user, EventRef ref) {
    MemberFacts facts;
    facts.room = room;
    facts.redacted.push_back({std::string(user), ref});
    redacted_members_.push_back(std::move(facts));
}

/// Says whether some were unused, and have to be stored again.
bool Ingestion::take_events(const Rows& rows) {
    std::vector<std::string> unused;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        std::string id(rows.text(row, 0));
        const EventRef ref{rows.bigint(row, 1)};
        if (rows.boolean(row, 3)) unused.push_back(id);
        // Another part may hold it as it was before.
        if (come_redacted_.contains(id)) inserted_.erase(ref);
        events_[std::move(id)] = {ref, RoomKey{rows.bigint(row, 2)}};
    }
    if (!unused.empty()) use_events(sending_, unused);
    return !unused.empty();
}

Task<void> Ingestion::store_events() {
    set_versions();
    for (bool again = true; again;) {
        std::optional<EventQueries> queries = send_events();
        if (!queries) co_return;
        Rows inserted = co_await queries->inserted;
        for (std::size_t row = 0; row < inserted.size(); ++row) inserted_.insert(EventRef{inserted.bigint(row, 1)});
        if (queries->taken) {
            Query& taken = *queries->taken;
            Rows rows = co_await taken;
            take_redacted_rows(rows);
        }
        Rows found = co_await queries->found;
        Rows unredacted = co_await queries->unredacted;
        again = take_events(found);
        if (!again) redact_events(unredacted);
    }
}

void Ingestion::take_redacted_rows(const Rows& taken) {
    for (std::size_t row = 0; row < taken.size(); ++row) {
        if (!inserted_.contains(EventRef{taken.bigint(row, 0)})) note_redacted(RoomKey{taken.bigint(row, 1)}, taken.boolean(row, 2));
    }
}

void Ingestion::note_redacted(RoomKey room, bool state) {
    redacted_[room] |= state;
}

void Ingestion::redact_events(const Rows& unredacted) {
    for (const RedactedEvent& event : redact_stored(sending_, unredacted)) {
        if (inserted_.erase(event.ref) == 0) note_redacted(event.room, event.state_key.has_value());
        if (event.state_key && event.type == "m.room.member") take_redacted_member(event.room, *event.state_key, event.ref);
    }
}

}  // namespace matrix_sync
