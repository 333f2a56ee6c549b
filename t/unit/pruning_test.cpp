// Pruning on a real PostgreSQL: what a live session can ask is answered as if nothing had been deleted, and the rest goes.
#include "storage/pruning.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/log/read.hpp"
#include "log_storage.hpp"
#include "matrix_sync/error.hpp"
#include "storage/sessions.hpp"
#include "storage/tokens.hpp"
#include "suite.hpp"
#include "world.hpp"

using namespace matrix_sync;

namespace {

constexpr Milliseconds day{24 * 3600 * 1000};

struct PrunedStorage : Storage {
    explicit PrunedStorage(const std::string& conninfo = postgres().fresh_database()) : Storage(conninfo), other(conninfo) {}

    void prune() { prune(pruning); }
    void prune(PostgresPruning& by) {
        database.execute("UPDATE pruning SET free_at = now()");
        while (complete(by.prune(day))) {
        }
    }
    /// Another worker sweeps the rooms when this one comes to a statement.
    void sweep_before(const std::string& statement) {
        watched.before = [this, statement](const Statement& next) {
            if (next.name != statement) return;
            const auto running = std::exchange(watched.before, nullptr);
            database.execute("UPDATE room SET swept = now() - interval '2 hours'");
            PostgresPruning others(other, loop);
            prune(others);
            swept = true;
        };
    }
    /// Two hours pass for what is to be pruned.
    void age(const std::string& interval = "2 hours") {
        const std::string ago = " - interval '" + interval + "'";
        database.execute("UPDATE log SET at = at" + ago + "; UPDATE room SET swept = swept" + ago + "; UPDATE device SET used = used" +
                         ago);
    }
    /// As often as it takes for everything that can go.
    void prune_all() {
        for (int i = 0; i < 4; ++i) {
            age();
            prune();
        }
    }
    /// As Storage::told(), but what is left, from the newest entry back.
    std::string told(DeviceKey device, const std::string& id) {
        std::string text;
        for (const Entry& entry : last(device, *room(id), Position{INT64_MAX}, 1024)) {
            text += (text.empty() ? "" : "; ") + std::string(entry.gap ? "|" : "") + std::to_string(static_cast<int>(entry.section)) + ":" +
                    event_ids(entry.events);
        }
        return text;
    }
    SessionId session(DeviceKey device, Position reach) { return complete(sessions.open(device, "{}", {}, reach, 10)).id; }
    void come_back(const SessionId& session, Position reach) { complete(sessions.touch({{session, reach}}, {})); }
    void expire_sessions() { database.execute("DELETE FROM session"); }

    BlockingDatabase other;
    bool swept = false;
    PostgresSessions sessions{watched};
    PostgresTokens tokens{watched};
    PostgresPruning pruning{watched, loop};
};

std::vector<Event> messages(int& number, int count) {
    std::vector<Event> events;
    for (int i = 0; i < count; ++i) events.push_back(event("$" + std::to_string(++number)));
    return events;
}

Position tell(Storage& storage, Lease lease, RoomPart part, bool first = false) {
    auto from = first ? std::nullopt : std::optional<std::string>("from");
    return ingest(storage, piece(lease, from, one(std::move(part)))).news.to;
}

bool is_unknown_session(const std::function<void()>& ask) {
    try {
        ask();
        return false;
    } catch (const MatrixError& error) {
        return error.status == 400 && error.errcode == "M_UNKNOWN_SYNC_SESSION";
    }
}

std::string said(Storage& storage, const Entry& entry) {
    std::string text = std::to_string(entry.seq.value) + (entry.gap ? "|" : " ") + (entry.limited ? "l" : " ") +
                       std::to_string(static_cast<int>(entry.section)) + " " + entry.prev_batch.value_or("-") + " " + entry.next_batch +
                       " " + storage.event_ids(entry.events) + " state";
    for (const auto& [name, ref] : storage.state(entry.state)) text += " " + storage.event_ids({ref});
    return text + "\n";
}

/// What can be asked at a place in the log of a device's room.
std::string answers(Storage& storage, DeviceKey device, const std::string& id, Position place) {
    auto room = storage.room(id);
    if (!room) return "no room";
    std::string text;
    for (const Entry& entry : storage.entries(device, id, place)) text += said(storage, entry);
    if (auto newest = complete(storage.rooms.newest(device, *room, place))) {
        // A room that was left is as one that there never was.
        if (newest->section != Section::leave) text += "newest " + said(storage, *newest);
    }
    const std::vector<Entry> last = storage.last(device, *room, place, 1024);
    if (last.empty() || last.front().section == Section::leave) return text;
    const Timeline timeline = read_last(last, 200);
    return text + "last " + (timeline.limited ? "l " : "  ") + timeline.prev_batch.value_or("-") + " " + storage.event_ids(timeline.events);
}

}  // namespace

START_TEST(entries_go_that_no_live_session_can_ask_for) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    int number = 0;
    std::vector<Position> places{tell(storage, lease, first_part("!r:world", messages(number, 50)), true)};
    for (int i = 0; i < 19; ++i) places.push_back(tell(storage, lease, part("!r:world", messages(number, 50))));
    const SessionId slow = storage.session(lease.device, places[9]);
    storage.session(lease.device, places[15]);
    const std::string before = answers(storage, lease.device, "!r:world", places[9]);

    storage.prune();
    assert_text(storage.count("log"), "20");  // they are too young
    storage.age();
    storage.prune();
    // Ten after the slow session's place, and four with 200 events before.
    assert_text(storage.count("log"), "14");
    assert_text(answers(storage, lease.device, "!r:world", places[9]), before);
    ck_assert(is_unknown_session([&] { storage.entries(lease.device, "!r:world", places[8]); }));
    ck_assert(is_unknown_session([&] { complete(storage.rooms.newest(lease.device, *storage.room("!r:world"), places[8])); }));

    storage.come_back(slow, places[19]);
    storage.prune();
    assert_text(storage.count("log"), "8");
    storage.expire_sessions();
    storage.prune();
    assert_text(storage.count("log"), "4");
    // The log is written as ever.
    tell(storage, lease, part("!r:world", messages(number, 1)));
    assert_text(storage.count("log WHERE gap"), "0");
}
END_TEST

START_TEST(entries_before_a_gap_and_silent_ones_go) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    int number = 0;
    tell(storage, lease, first_part("!r:world", messages(number, 1)), true);
    RoomPart gap = part("!r:world", messages(number, 1));
    gap.limited = true;
    tell(storage, lease, std::move(gap));
    for (int i = 0; i < 500; ++i) {
        RoomPart typing = part("!r:world", {});
        typing.typing = std::vector<std::string>{"@a:world"};
        tell(storage, lease, std::move(typing));
    }
    tell(storage, lease, part("!r:world", messages(number, 1)));
    storage.age();
    storage.prune();
    assert_text(storage.told(lease.device, "!r:world"), "1:$3; |1:$2");
}
END_TEST

START_TEST(what_an_unfinished_poll_brought_stays) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    int number = 0;
    tell(storage, lease, first_part("!r:world", messages(number, 300)), true);
    for (int i = 0; i < 3; ++i) ingest(storage, piece(lease, "next", one(part("!r:world", messages(number, 300))), std::nullopt));
    storage.age();
    storage.prune();
    assert_text(storage.count("log"), "4");
}
END_TEST

namespace {

/// The same polls of two devices in two databases, one of which is pruned all the time.
class Twins {
  public:
    explicit Twins(std::uint64_t seed) : chance_(seed) {
        for (const char* device : {"A", "B"}) {
            Side side;
            for (Storage* storage : both()) side.leases.push_back(storage->device(device, std::string("@") + device + ":world"));
            sides_.push_back(side);
        }
    }

    std::uint64_t run(int steps) {
        for (int step = 0; step < steps; ++step) {
            Side& side = sides_[chance_.below(sides_.size())];
            poll(side);
            if (chance_.of(.3)) move_session(side);
            if (chance_.of(.1)) {
                pruned_.age();
                pruned_.prune();
                compare();
            }
        }
        for (int i = 0; i < 4; ++i) {
            pruned_.age("2 days");
            pruned_.prune();
            compare();
        }
        ck_assert_int_lt(std::stoi(pruned_.count("log")), std::stoi(whole_.count("log")));
        ck_assert_int_lt(std::stoi(pruned_.count("event")), std::stoi(whole_.count("event")));
        return compared_;
    }

  private:
    struct Side {
        std::vector<Lease> leases;
        std::map<std::string, bool> joined;
        std::map<std::string, std::size_t> seen;  ///< events of the room
        std::optional<SessionId> session;
        Position reach;
        Position end;
    };
    struct Room {
        std::vector<Event> events;
        std::map<std::string, Event> state;
    };

    std::vector<Storage*> both() { return {&whole_, &pruned_}; }

    void grow(const std::string& id, Room& room) {
        if (room.state.empty()) room.state["create"] = create(id);
        for (auto n = chance_.below(120); n > 0; --n) {
            Event next = event("$" + id + std::to_string(room.events.size()));
            if (chance_.of(.05)) {
                next = event(next.event_id.value, "org.state", chance_.one_of<std::string>({"a", "b", "c"}));
                room.state[*next.state_key] = next;
            } else if (chance_.of(.05) && room.events.size() > 3) {
                next = redaction(next.event_id.value, room.events[chance_.below(room.events.size())].event_id.value);
            }
            room.events.push_back(next);
        }
    }

    void poll(Side& side) {
        const auto id = chance_.one_of<std::string>({"!a:world", "!b:world", "!c:world"});
        Room& room = rooms_[id];
        grow(id, room);
        const bool first = side.end.value == 0;
        bool& joined = side.joined[id];
        const bool leaves = joined && chance_.of(.1);
        std::vector<Event> events(room.events.begin() + static_cast<std::ptrdiff_t>(side.seen[id]), room.events.end());
        RoomPart told = part(id, {}, {}, leaves ? Section::leave : Section::join);
        const std::size_t limit = joined ? 50 : 20;
        if (!joined) {
            events = room.events;
            for (const auto& [key, event] : room.state) told.state.push_back(event);
        }
        told.limited = events.size() > limit || !joined;
        if (events.size() > limit) events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(limit));
        if (joined && told.limited) {
            for (const auto& [key, event] : room.state) told.state.push_back(event);
        }
        told.state_is_after = true;
        told.prev_batch = "before" + std::to_string(side.seen[id]);
        if (chance_.of(.2)) {
            events.clear();
            told.typing = std::vector<std::string>{"@x:world"};
            if (!joined) return;
        } else {
            side.seen[id] = room.events.size();
        }
        told.timeline = events;
        joined = !leaves;
        std::vector<Position> ends;
        for (std::size_t i = 0; i < 2; ++i) {
            RoomPart copy = part(id, told.timeline, told.state, told.section);
            copy.limited = told.limited;
            copy.state_is_after = true;
            copy.prev_batch = told.prev_batch;
            copy.typing = told.typing;
            ends.push_back(tell(*both()[i], side.leases[i], std::move(copy), first));
        }
        ck_assert(ends[0] == ends[1]);
        side.end = ends[0];
    }

    void move_session(Side& side) {
        side.reach = Position{side.reach.value +
                              static_cast<std::int64_t>(chance_.below(static_cast<std::size_t>(side.end.value - side.reach.value) + 1))};
        if (side.session) {
            pruned_.come_back(*side.session, side.reach);
        } else if (side.end.value > 0) {
            side.reach = side.end;
            side.session = pruned_.session(side.leases[1].device, side.reach);
        }
    }

    void compare() {
        for (const Side& side : sides_) {
            if (!side.session) continue;
            for (std::int64_t place : {side.reach.value, (side.reach.value + side.end.value) / 2, side.end.value}) {
                for (const auto& [id, room] : rooms_) {
                    const std::string should = answers(whole_, side.leases[0].device, id, Position{place});
                    assert_text(answers(pruned_, side.leases[1].device, id, Position{place}), should);
                    ++compared_;
                }
            }
        }
    }

    world::Chance chance_;
    Storage whole_;
    PrunedStorage pruned_;
    std::map<std::string, Room> rooms_;
    std::vector<Side> sides_;
    std::uint64_t compared_ = 0;
};

}  // namespace

START_TEST(live_sessions_are_answered_as_if_nothing_had_gone) {
    std::uint64_t compared = 0;
    const std::uint64_t trials = world::runs(3);
    for (std::uint64_t trial = 0; trial < trials; ++trial) compared += Twins(world::seed() + trial).run(80);
    std::printf("%llu answers compared\n", static_cast<unsigned long long>(compared));
    ck_assert_uint_gt(compared, 50 * trials);
}
END_TEST

START_TEST(what_nothing_points_to_goes_when_it_has_been_so_for_a_while) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    int number = 0;
    tell(storage, lease, first_part("!r:world", messages(number, 250)), true);
    tell(storage, lease, part("!r:world", {event("$renamed", "m.room.name", "")}));
    tell(storage, lease, part("!r:world", messages(number, 250)));
    storage.age();
    storage.prune();
    // All messages of the first part, and the state that its name is in.
    assert_text(storage.count("log"), "1");
    assert_text(storage.count("event"), "503");
    assert_text(storage.count("event WHERE unused"), "250");
    assert_text(storage.count("room_state WHERE unused"), "1");
    storage.prune();
    assert_text(storage.count("event"), "503");
    storage.prune_all();
    assert_text(storage.count("event"), "252");
    assert_text(storage.count("room_state"), "1");
    assert_text(storage.count("event WHERE unused"), "0");
    assert_text(storage.count("room WHERE sweep > 0"), "0");
}
END_TEST

namespace {

/// A room with an event $old that nothing points to.
struct Unused : PrunedStorage {
    Unused() {
        int number = 0;
        tell(*this, first, first_part("!r:world", {event("$old")}), true);
        tell(*this, first, part("!r:world", messages(number, 250)));
        database.execute("UPDATE log SET at = at - interval '2 hours'");
        prune();
        assert_text(count("event WHERE event_id = '$old' AND NOT unused"), "1");
    }
    void mark() {
        age();
        prune();
        assert_text(count("event WHERE event_id = '$old' AND unused"), "1");
    }
    void come_again() { tell(*this, second, first_part("!r:world", {event("$old")}), true); }
    void assert_there() {
        prune_all();
        assert_text(told(second.device, "!r:world"), "|1:$old");
        assert_text(body("$old").substr(0, 8), R"({"type":)");
    }

    Lease first = device("A");
    Lease second = device("B", "@b:world");
};

}  // namespace

START_TEST(an_unused_event_is_used_again) {
    Unused storage;
    storage.mark();
    storage.come_again();
    storage.assert_there();
}
END_TEST

START_TEST(an_event_that_is_found_unused_while_it_is_being_used_stays) {
    Unused storage;
    storage.sweep_before("log_put");
    storage.come_again();
    ck_assert(storage.swept);
    assert_text(storage.count("event WHERE event_id = '$old' AND unused"), "1");
    storage.assert_there();
}
END_TEST

START_TEST(an_unused_event_that_goes_while_it_is_looked_for_is_stored_anew) {
    Unused storage;
    storage.mark();
    storage.sweep_before("unused_use_events");
    storage.come_again();
    ck_assert(storage.swept);
    storage.assert_there();
}
END_TEST

START_TEST(an_unused_event_that_is_used_before_it_goes_stays) {
    Unused storage;
    storage.mark();
    bool used = false;
    storage.watched.before = [&](const Statement& next) {
        if (next.name != std::string("pruning_delete_events")) return;
        const auto running = std::exchange(storage.watched.before, nullptr);
        storage.come_again();
        used = true;
    };
    storage.age();
    storage.prune();
    ck_assert(used);
    storage.assert_there();
}
END_TEST

START_TEST(what_was_redacted_comes_again_redacted) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    int number = 0;
    tell(storage, lease, first_part("!r:world", {event("$bad")}), true);
    tell(storage, lease, part("!r:world", {redaction("$why", "$bad")}));
    tell(storage, lease, part("!r:world", messages(number, 250)));
    storage.prune_all();
    assert_text(storage.count("event WHERE event_id = '$bad'"), "0");
    Lease other = storage.device("B", "@b:world");
    tell(storage, other, first_part("!r:world", {event("$bad")}), true);
    ck_assert(storage.body("$bad").find("text of $bad") == std::string::npos);
}
END_TEST

START_TEST(a_room_goes_with_the_last_device_that_has_been_told_of_its_leave) {
    PrunedStorage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B", "@b:world");
    Event member = event("$member", "m.room.member", "@b:world");
    member.membership = "join";
    Position joined;
    for (Lease lease : {a, b})
        joined = tell(storage, lease, first_part("!r:world", {event("$1"), member, redaction("$2", "$elsewhere")}), true);
    tell(storage, a, part("!r:world", {event("$3")}, {}, Section::leave));
    const Position left = tell(storage, b, part("!r:world", {event("$3")}, {}, Section::leave));
    const SessionId session = storage.session(b.device, joined);
    storage.database.execute("INSERT INTO receipt SELECT device, room, '@b', 'm.read', '', '$1', seq, '{}' FROM device_room");
    storage.age("20 hours");
    storage.prune();
    assert_text(storage.count("device_room"), "2");  // it is not an expiry ago
    storage.age("20 hours");
    storage.prune();
    assert_text(storage.count("device_room"), "1");
    storage.come_back(session, left);
    storage.prune();
    storage.prune();
    assert_text(storage.count("device_room"), "0");
    storage.prune_all();
    for (const char* table : {"log", "receipt", "room", "event", "room_state", "redaction", "member", "member_list"}) {
        assert_text(std::string(table) + " " + storage.count(table), std::string(table) + " 0");
    }
    tell(storage, b, first_part("!r:world", {event("$4")}), true);
    assert_text(storage.told(b.device, "!r:world"), "|1:$4");
}
END_TEST

START_TEST(an_unused_room_that_goes_while_it_is_entered_is_made_anew) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    tell(storage, lease, first_part("!r:world", {event("$1")}), true);
    tell(storage, lease, part("!r:world", {event("$2")}, {}, Section::leave));
    storage.age("2 days");
    storage.prune();
    storage.age();
    storage.prune();
    assert_text(storage.count("room WHERE unused"), "1");
    storage.sweep_before("unused_use_rooms");
    tell(storage, lease, first_part("!r:world", {event("$3")}));
    ck_assert(storage.swept);
    storage.prune_all();
    assert_text(storage.told(lease.device, "!r:world"), "|1:$3");
    assert_text(storage.count("room WHERE NOT unused"), "1");
}
END_TEST

START_TEST(a_device_that_nobody_uses_keeps_only_what_it_has_not_been_given) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    Lease silent = storage.device("B");
    auto answer = piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")})));
    answer.rest->to_device = {R"({"type":"m.room_key"})"};
    answer.rest->account_data = {{"m.direct", "{}"}};
    const Position end = ingest(storage, std::move(answer)).news.to;
    tell(storage, silent, first_part("!r:world", {event("$1")}), true);
    complete(storage.tokens.remember_token("secret", lease.device));
    complete(storage.tokens.remember_token("other", silent.device));
    const SessionId session = storage.session(lease.device, end);
    storage.age("2 days");
    storage.prune();
    assert_text(storage.count("device"), "2");  // its worker is alive
    storage.database.execute("UPDATE worker SET alive_until = now() - interval '1 s'");
    storage.prune_all();
    assert_text(storage.count("device"), "1");
    assert_text(storage.count("device WHERE since IS NOT NULL"), "1");  // it has a session
    storage.expire_sessions();
    storage.prune_all();
    for (const char* table : {"log", "device_room", "account_data", "token", "room", "event", "room_state"}) {
        assert_text(std::string(table) + " " + storage.count(table), std::string(table) + " 0");
    }
    assert_text(storage.database.value("SELECT device_id || ' ' || (since IS NULL)::text FROM device"), "A true");
    assert_text(storage.count("to_device"), "1");

    storage.database.execute("UPDATE worker SET alive_until = now() + interval '1 hour'");
    auto claimed = complete(storage.logs.claim(lease.device, WorkerKey{1}));
    ck_assert(claimed.lease && !claimed.since && !claimed.row.whole);
    tell(storage, *claimed.lease, first_part("!r:world", {event("$1")}), true);
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1");
    ck_assert_uint_eq(complete(storage.logs.to_device(lease.device, {}, 10)).size(), 1);
    ck_assert(!complete(storage.logs.claim(silent.device, WorkerKey{2})).row.key);
}
END_TEST

START_TEST(versions_of_members_go_that_no_page_can_name) {
    PrunedStorage storage;
    Lease lease = storage.device("A");
    tell(storage, lease, first_part("!r:world", {event("$1"), event("$2"), event("$3"), event("$4"), event("$5")}), true);
    const RoomKey room = *storage.room("!r:world");
    storage.database.execute(R"(
        INSERT INTO member SELECT room, '@x:world', n, CASE WHEN n < 5 THEN n + 1 END, ref, 1, 'x', NULL, NULL, 1, 2, '{}'
        FROM (SELECT room, ref, row_number() OVER (ORDER BY ref) AS n FROM event WHERE type = 'm.room.message') AS e;
        INSERT INTO member_list (room, version) VALUES (1, 5) ON CONFLICT (room) DO UPDATE SET version = 5)");
    Snapshot snapshot;
    snapshot.room = room;
    snapshot.version = 3;
    const SessionId session = storage.session(lease.device, Position{});
    complete(storage.rooms.add_snapshot(session, Paged::room_members, snapshot));
    const std::string third = storage.event_ids({complete(storage.rooms.members_at(room, 3, {}, {}, 1, {"@x:world"})).named[0].ref});
    auto sweep = [&] {
        storage.database.execute("UPDATE room SET sweep = 1, swept = now() - interval '2 hours'");
        storage.prune();
    };
    sweep();
    assert_text(storage.count("member"), "5");
    sweep();
    assert_text(storage.count("member"), "3");
    assert_text(storage.event_ids({complete(storage.rooms.members_at(room, 3, {}, {}, 1, {"@x:world"})).named[0].ref}), third);
    storage.expire_sessions();
    sweep();
    assert_text(storage.count("member"), "1");
    ck_assert_uint_eq(complete(storage.rooms.member_changes(room, 1)).rows.size(), 1);
}
END_TEST

START_TEST(one_worker_prunes_at_a_time) {
    PrunedStorage storage;
    PostgresPruning other(storage.other, storage.loop);
    storage.database.execute("UPDATE pruning SET free_at = now()");
    ck_assert(complete(storage.pruning.prune(day)));
    ck_assert(!complete(other.prune(day)));
    while (complete(storage.pruning.prune(day))) {
    }
    ck_assert(!complete(other.prune(day)));
    storage.database.execute("UPDATE pruning SET free_at = now()");
    ck_assert(complete(other.prune(day)));
}
END_TEST

MATRIX_SYNC_SUITE("pruning", entries_go_that_no_live_session_can_ask_for, entries_before_a_gap_and_silent_ones_go,
                  what_an_unfinished_poll_brought_stays, live_sessions_are_answered_as_if_nothing_had_gone,
                  what_nothing_points_to_goes_when_it_has_been_so_for_a_while, an_unused_event_is_used_again,
                  an_event_that_is_found_unused_while_it_is_being_used_stays,
                  an_unused_event_that_goes_while_it_is_looked_for_is_stored_anew, an_unused_event_that_is_used_before_it_goes_stays,
                  what_was_redacted_comes_again_redacted, a_room_goes_with_the_last_device_that_has_been_told_of_its_leave,
                  an_unused_room_that_goes_while_it_is_entered_is_made_anew,
                  a_device_that_nobody_uses_keeps_only_what_it_has_not_been_given, versions_of_members_go_that_no_page_can_name,
                  one_worker_prunes_at_a_time)
