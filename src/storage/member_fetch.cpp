// Stores what GET /rooms/{id}/members gives, in short transactions: in between, polls of the room are stored as ever. The list counts as
// fetched once all of it is there.
#include <algorithm>
#include <map>

#include "core/classic/event.hpp"
#include "core/json/cursor.hpp"
#include "core/matrix/content.hpp"
#include "core/matrix/redaction.hpp"
#include "storage/members.hpp"
#include "storage/unused.hpp"

namespace matrix_sync {

namespace {

const Statement get_clock{"member_fetch_clock", R"sql(
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
)sql"};

const Statement get_refs{"member_fetch_refs", R"sql(
    SELECT event_id, ref, room, unused FROM event WHERE event_id = ANY ($1::text[])
)sql"};

const Statement insert_events{"member_fetch_insert_events", R"sql(
    INSERT INTO event (event_id, room, type, state_key, sender, origin_server_ts, body)
    SELECT w.event_id, $1::bigint, 'm.room.member', w.state_key, w.sender, w.time, w.body
    FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[]) AS w (event_id, state_key, sender, time, body)
    ORDER BY w.event_id
    ON CONFLICT (event_id) DO NOTHING
)sql"};

const Statement find_unredacted{"member_fetch_find_unredacted", R"sql(
    SELECT e.ref, e.body, coalesce(r.version, '1'), because.body
    FROM redaction x
    JOIN event e ON e.event_id = x.target AND e.room + 0 = x.room
    JOIN event because ON because.ref = x.ref
    JOIN room r ON r.id = x.room
    WHERE x.room = $1::bigint AND x.target = ANY ($2::text[]) AND NOT e.redacted
    ORDER BY e.event_id FOR UPDATE OF e
)sql"};

const Statement set_redacted{"member_fetch_set_redacted", R"sql(
    UPDATE event SET body = w.body, redacted = true
    FROM unnest($1::bigint[], $2::bytea[]) AS w (ref, body)
    WHERE event.ref = w.ref AND NOT event.redacted
)sql"};

using Refs = std::map<std::string, EventRef>;

/// One transaction's part of the list.
class Batch {
  public:
    Batch(Transaction& transaction, RoomKey room, const std::vector<Event>& events) : sending_(transaction), room_(room) {
        for (const Event& event : events) events_.emplace(event.event_id.value, &event);
    }

    Task<void> store_events() {
        // What is unused may be gone when it is looked for again.
        for (bool again = true; again;) again = co_await store_missing();
        take_redacted();
    }

    Task<void> write(Said said, std::vector<Event> events) {
        RoomPart part;
        part.state = std::move(events);
        part.state_is_after = true;
        const RefOf ref_of = [this](const EventId& id) -> std::optional<EventRef> {
            auto found = refs_.find(id.value);
            return found == refs_.end() ? std::nullopt : std::optional(found->second);
        };
        std::vector<MemberFacts> facts;
        facts.push_back({room_, member_facts(part, said, ref_of), {}, {}});
        co_await write_members(sending_, std::move(facts));
        co_await sending_.commit(false);
    }

  private:
    /// Says whether some were unused.
    Task<bool> store_missing() {
        std::vector<std::string> unused = co_await read_refs();
        std::vector<std::string> missing;
        for (const auto& [id, event] : events_) {
            if (!refs_.contains(id) && !elsewhere_.contains(id)) missing.push_back(id);
        }
        if (!unused.empty()) {
            use_events(sending_, unused);
        } else if (!missing.empty()) {
            co_await insert(std::move(missing));
        }
        co_return !unused.empty();
    }

    /// Gives those that are unused.
    Task<std::vector<std::string>> read_refs() {
        std::vector<std::string> ids;
        for (const auto& [id, event] : events_) ids.push_back(id);
        Params params;
        params.texts(ids);
        Query query = sending_.ask(get_refs, std::move(params));
        Rows rows = co_await query;
        refs_.clear();
        elsewhere_.clear();
        std::vector<std::string> unused;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            std::string id(rows.text(row, 0));
            if (rows.boolean(row, 3)) unused.push_back(id);
            Refs& refs = rows.bigint(row, 2) == room_.value ? refs_ : elsewhere_;
            refs[std::move(id)] = EventRef{rows.bigint(row, 1)};
        }
        co_return unused;
    }

    Task<void> insert(std::vector<std::string> missing) {
        std::vector<std::optional<std::string>> state_keys;
        std::vector<std::string> senders;
        std::vector<std::int64_t> times;
        std::vector<std::string> bodies;
        for (const std::string& id : missing) {
            const Event& event = *events_.at(id);
            state_keys.push_back(event.state_key);
            senders.push_back(event.sender.value);
            times.push_back(event.origin_server_ts);
            bodies.push_back(event.body);
        }
        Params inserted;
        inserted.bigint(room_.value).texts(missing).texts(state_keys).texts(senders).bigints(times).bytess(bodies);
        sending_.send(insert_events, std::move(inserted));
        Params candidates;
        candidates.bigint(room_.value).texts(missing);
        Query unredacted_query = sending_.ask(find_unredacted, std::move(candidates));
        co_await read_refs();
        Rows unredacted = co_await unredacted_query;
        redact_stored(unredacted);
    }

    /// What was redacted before it came here.
    void redact_stored(const Rows& rows) {
        std::vector<std::int64_t> refs;
        std::vector<std::string> bodies;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            refs.push_back(rows.bigint(row, 0));
            try {
                bodies.push_back(redact(rows.text(row, 1), rows.text(row, 2), rows.text(row, 3)));
            } catch (const JsonError&) {
                bodies.push_back("{}");  // nothing of what was to be redacted may stay
            }
        }
        send_redacted(refs, bodies);
    }

    /// What the homeserver has redacted.
    void take_redacted() {
        std::vector<std::int64_t> refs;
        std::vector<std::string> bodies;
        for (const auto& [id, ref] : refs_) {
            const Event& event = *events_.at(id);
            if (!comes_redacted(event)) continue;
            refs.push_back(ref.value);
            bodies.push_back(event.body);
        }
        send_redacted(refs, bodies);
    }

    void send_redacted(const std::vector<std::int64_t>& refs, const std::vector<std::string>& bodies) {
        if (refs.empty()) return;
        Params params;
        params.bigints(refs).bytess(bodies);
        sending_.send(set_redacted, std::move(params));
    }

    Sending sending_;
    RoomKey room_;
    std::map<std::string, const Event*> events_;  ///< by ID
    Refs refs_;
    Refs elsewhere_;  ///< of other rooms: not these, whatever the homeserver says
};

}  // namespace

Task<void> PostgresMembers::store_members(RoomKey room, std::vector<Event> members, Microseconds asked) {
    std::erase_if(members, [](const Event& event) { return event.type != "m.room.member" || !event.state_key; });
    if (members.empty()) co_return;
    auto transaction = co_await database_.begin();
    Query clock_query = transaction->run(get_clock, Params());
    Batch batch(*transaction, room, members);
    co_await batch.store_events();
    Rows clock = co_await clock_query;
    const Said said{asked, clock.bigint(0, 0)};
    co_await batch.write(said, members);
}

Task<void> PostgresMembers::end_members(RoomKey room, std::vector<std::string> listed, Microseconds asked) {
    std::vector<std::string> gone = co_await unlisted(room, std::move(listed));
    auto transaction = co_await database_.begin();
    Sending sending(*transaction);
    co_await end_fetch(sending, room, std::move(gone), asked);
    co_await sending.commit(false);
}

}  // namespace matrix_sync
