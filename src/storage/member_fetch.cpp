// Stores member events that come many at a time, in short transactions: in between, polls of the rooms are stored as ever. A list that
// GET /rooms/{id}/members gives counts as fetched once all of it is there.
#include <algorithm>
#include <map>

#include "core/classic/event.hpp"
#include "core/matrix/content.hpp"
#include "storage/event_rows.hpp"
#include "storage/members.hpp"
#include "storage/unused.hpp"

namespace matrix_sync {

namespace {

const Statement get_clock{"member_fetch_clock", R"sql(
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
)sql"};

const Statement get_rooms{"member_fetch_rooms", R"sql(
    SELECT room_id, id FROM room WHERE room_id = ANY ($1::text[])
)sql"};

constexpr int most_tries = 5;

/// Another transaction was in the way: deadlock, serialization failure, a lock that was not to be had in time.
bool in_the_way(const StatementFailed& failure) {
    return failure.sqlstate.starts_with("40") || failure.sqlstate == "55P03";
}

/// One transaction.
class Batch {
  public:
    Batch(Transaction& transaction, std::vector<RoomMembers>& rooms) : sending_(transaction), rooms_(rooms) {}

    /// Gives the rooms that are known.
    Task<std::vector<RoomKey>> carry_out(Microseconds asked) {
        Query clock_query = sending_.ask(get_clock, Params());
        co_await find_rooms();
        // What is unused may be gone when it is looked for again; what was missing may be somebody else's by now.
        for (bool again = true; again;) again = co_await store_missing();
        take_redacted();
        Rows clock = co_await clock_query;
        co_await write_members(sending_, facts({asked, clock.bigint(0, 0)}));
        co_await sending_.commit(false);
        std::vector<RoomKey> rooms;
        for (const auto& [id, key] : keys_) rooms.push_back(key);
        co_return rooms;
    }

  private:
    struct Stored {
        RoomKey room;
        const Event* event = nullptr;
        EventRef ref;            ///< 0: not yet
        bool elsewhere = false;  ///< of another room: not this one's, whatever the homeserver says
        bool inserted = false;
    };

    Task<void> find_rooms() {
        std::vector<std::string> ids;
        for (const RoomMembers& room : rooms_) ids.push_back(room.room.value);
        Params params;
        params.texts(ids);
        Query query = sending_.ask(get_rooms, std::move(params));
        Rows rows = co_await query;
        for (std::size_t row = 0; row < rows.size(); ++row) keys_[RoomId{std::string(rows.text(row, 0))}] = RoomKey{rows.bigint(row, 1)};
        for (const RoomMembers& room : rooms_) {
            auto key = keys_.find(room.room);
            if (key == keys_.end()) continue;
            for (const Event& event : room.members) events_.try_emplace(event.event_id.value, Stored{key->second, &event, {}});
        }
    }

    /// Says whether there is more to do.
    Task<bool> store_missing() {
        std::vector<std::string> unused = co_await read_refs();
        if (!unused.empty()) {
            use_events(sending_, unused);
            co_return true;
        }
        std::size_t missing = 0;
        for (const auto& [id, stored] : events_) missing += !stored.ref && !stored.elsewhere;
        if (missing == 0) co_return false;
        const std::size_t inserted = co_await insert_missing();
        co_return inserted < missing;
    }

    /// Gives those that are unused.
    Task<std::vector<std::string>> read_refs() {
        std::vector<std::string> ids;
        for (const auto& [id, stored] : events_) ids.push_back(id);
        Query query = find_events(sending_, ids);
        Rows rows = co_await query;
        for (auto& [id, stored] : events_) {
            stored.ref = {};
            stored.elsewhere = false;
        }
        std::vector<std::string> unused;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            Stored& stored = events_.find(rows.text(row, 0))->second;
            if (rows.boolean(row, 3)) unused.emplace_back(rows.text(row, 0));
            stored.elsewhere = rows.bigint(row, 2) != stored.room.value;
            if (!stored.elsewhere) stored.ref = EventRef{rows.bigint(row, 1)};
        }
        co_return unused;
    }

    /// Gives how many.
    Task<std::size_t> insert_missing() {
        EventRows rows;
        for (const auto& [id, stored] : events_) {
            if (!stored.ref && !stored.elsewhere) rows.add(id, stored.room, *stored.event);
        }
        Query inserted_query = rows.insert(sending_);
        Query unredacted_query = find_unredacted(sending_, rows.rooms(), rows.ids());
        Rows inserted = co_await inserted_query;
        for (std::size_t row = 0; row < inserted.size(); ++row) {
            Stored& stored = events_.find(inserted.text(row, 0))->second;
            stored.ref = EventRef{inserted.bigint(row, 1)};
            stored.inserted = true;
        }
        Rows unredacted = co_await unredacted_query;
        redact_stored(sending_, unredacted);  // what was redacted before it came here
        co_return inserted.size();
    }

    /// What the homeserver has redacted.
    void take_redacted() {
        std::vector<std::int64_t> refs;
        std::vector<std::string> bodies;
        for (const auto& [id, stored] : events_) {
            if (!stored.ref || !comes_redacted(*stored.event)) continue;
            refs.push_back(stored.ref.value);
            bodies.push_back(stored.event->body);
        }
        put_redacted(sending_, refs, bodies);
    }

    std::vector<MemberFacts> facts(Said said) {
        std::vector<MemberFacts> facts;
        for (RoomMembers& room : rooms_) {
            auto key = keys_.find(room.room);
            if (key == keys_.end()) continue;
            const RefOf ref_of = [&](const EventId& id) -> std::optional<EventRef> {
                auto found = events_.find(id.value);
                const bool here = found != events_.end() && found->second.ref && found->second.room == key->second;
                return here ? std::optional(found->second.ref) : std::nullopt;
            };
            RoomPart part;
            part.state = std::move(room.members);
            part.state_is_after = true;
            MemberFacts& of = facts.emplace_back();
            of.room = key->second;
            of.facts = member_facts(part, said, ref_of);
            of.news =
                std::ranges::any_of(part.state, [&](const Event& event) { return events_.find(event.event_id.value)->second.inserted; });
            room.members = std::move(part.state);
        }
        return facts;
    }

    Sending sending_;
    std::vector<RoomMembers>& rooms_;
    std::map<RoomId, RoomKey> keys_;
    std::map<std::string, Stored, std::less<>> events_;  ///< by ID
};

}  // namespace

Task<std::vector<RoomKey>> PostgresMembers::store_members(std::vector<RoomMembers> rooms, Microseconds asked) {
    for (RoomMembers& room : rooms) {
        std::erase_if(room.members, [](const Event& event) { return event.type != "m.room.member" || !event.state_key; });
    }
    std::erase_if(rooms, [](const RoomMembers& room) { return room.members.empty(); });
    if (rooms.empty()) co_return std::vector<RoomKey>();
    for (int tries = 1;; ++tries) {
        try {
            auto transaction = co_await database_.begin();
            Batch batch(*transaction, rooms);
            co_return co_await batch.carry_out(asked);
        } catch (const StatementFailed& failure) {
            if (!in_the_way(failure) || tries == most_tries) throw;
        }
    }
}

Task<Microseconds> PostgresMembers::now() {
    Query query = database_.run(get_clock, Params());
    Rows rows = co_await query;
    co_return rows.bigint(0, 0);
}

Task<void> PostgresMembers::end_members(RoomKey room, std::vector<std::string> listed, Microseconds asked) {
    std::vector<std::string> gone = co_await unlisted(room, std::move(listed));
    auto transaction = co_await database_.begin();
    Sending sending(*transaction);
    co_await end_fetch(sending, room, std::move(gone), asked);
    co_await sending.commit(false);
}

}  // namespace matrix_sync
