// What one transaction makes of answers on a real PostgreSQL: all of a piece or nothing, and what goes wrong for one device or room goes
// wrong for no other.
#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>

#include "log_storage.hpp"
// Last, because of Check's macros.
#include "suite.hpp"

using namespace matrix_sync;

namespace {

/// An ingest that runs on its own.
struct Running {
    Running(Storage& storage, LogStore::Piece piece) {
        job.start(run(*this, storage, std::move(piece)));
        storage.loop.turn();
    }

    static Task<void> run(Running& self, Storage& storage, LogStore::Piece piece) {
        try {
            self.result = co_await storage.logs.ingest(std::move(piece));
        } catch (...) {
            self.error = std::current_exception();
        }
    }

    std::optional<LogStore::Ingested> result;
    std::exception_ptr error;
    Job job;
};

/// Until PostgreSQL says that somebody waits for a lock.
void wait_for_lock(Storage& storage) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (storage.count("pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "0") {
        ck_assert_msg(std::chrono::steady_clock::now() < limit, "nobody waits for a lock");
    }
}

}  // namespace

START_TEST(a_lost_lease_changes_nothing) {
    Storage storage;
    Lease lease = storage.device("A");
    Lease newer = storage.claim(lease.device);
    ck_assert(newer.epoch > lease.epoch);
    auto lost = ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    ck_assert(lost.lease_lost && lost.news.entries.empty());
    for (const char* table : {"room", "event", "room_state", "log", "set_aside"}) assert_text(storage.count(table), "0");
    auto kept = ingest(storage, piece(newer, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    ck_assert(!kept.lease_lost && kept.news.to.generation() == newer.epoch);
}
END_TEST

START_TEST(pieces_that_wait_share_a_transaction) {
    Storage storage;
    std::vector<Lease> leases;
    leases.reserve(6);
    for (int i = 0; i < 6; ++i) leases.push_back(storage.device("D" + std::to_string(i)));
    Lease lost = leases[3];
    storage.claim(lost.device);
    storage.watched.begun = 0;
    storage.watched.durable.clear();
    storage.watched.begins.closed = true;
    std::deque<Running> running;
    for (const Lease& lease : leases) {
        running.emplace_back(storage,
                             piece(lease, std::nullopt, one(first_part("!r:world", {event("$" + std::to_string(lease.device.value))}))));
    }
    // A second one of the same device has to wait for the first.
    running.emplace_back(storage, piece(leases[5], "next", one(part("!r:world", {event("$last")}))));
    storage.watched.begins.open();
    storage.loop.settle();
    for (std::size_t i = 0; i < running.size(); ++i) {
        ck_assert(running[i].result && running[i].result->lease_lost == (i == 3));
        ck_assert_uint_eq(running[i].result->news.entries.size(), i == 3 ? 0 : 1);
    }
    ck_assert_int_eq(storage.watched.begun, 3);
    ck_assert_uint_eq(storage.watched.durable.size(), 3);
    assert_text(storage.told(leases[5].device, "!r:world"), "|1:$6; 1:$last");
}
END_TEST

START_TEST(an_abandoned_piece_harms_nobody) {
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    Lease c = storage.device("C");
    storage.watched.begins.closed = true;
    std::deque<Running> running;
    running.emplace_back(storage, piece(a, std::nullopt, one(first_part("!r:world", {event("$a")}))));
    running.emplace_back(storage, piece(b, std::nullopt, one(first_part("!r:world", {event("$b")}))));
    running.emplace_back(storage, piece(c, std::nullopt, one(first_part("!r:world", {event("$c")}))));
    running[0].job.cancel();  // under way: nobody hears of it
    running[1].job.cancel();  // waiting: taken back
    storage.watched.begins.open();
    storage.loop.settle();
    ck_assert(running[2].result && !running[2].result->lease_lost);
    assert_text(storage.told(a.device, "!r:world"), "|1:$a");
    assert_text(storage.told(b.device, "!r:world"), "");
    assert_text(storage.told(c.device, "!r:world"), "|1:$c");
}
END_TEST

START_TEST(a_room_that_is_refused_is_set_aside_and_the_others_go_on) {  // rule 3
    Storage storage;
    refuse_poison(storage);
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    Lease c = storage.device("C");
    std::vector<RoomPart> rooms;
    rooms.reserve(9);
    for (int i = 0; i < 9; ++i) rooms.push_back(first_part("!" + std::to_string(i) + ":world", {event("$" + std::to_string(i))}));
    rooms[4] = first_part("!4:world", {event("$poison", "org.poison")});
    rooms[7].broken = "timeline: expected an object";
    auto bad = piece(a, std::nullopt, std::move(rooms));
    bad.rest->to_device.push_back(R"({"type":"m.key"})");
    storage.watched.begins.closed = true;
    const auto durable_before = std::ranges::count(storage.watched.durable, true);
    Running first(storage, piece(b, std::nullopt, one(first_part("!b:world", {event("$b")}))));
    Running second(storage, std::move(bad));
    Running third(storage, piece(c, std::nullopt, one(first_part("!c:world", {event("$c")}))));
    storage.watched.begins.open();
    storage.loop.settle();
    ck_assert(first.result && second.result && third.result);
    ck_assert_uint_eq(second.result->news.entries.size(), 7);
    ck_assert_uint_eq(second.result->news.to_device.size(), 1);
    assert_read_back(storage, a.device, second.result->news);
    assert_text(storage.database.value("SELECT string_agg(room_id || ' ' || reason, ', ' ORDER BY room_id) FROM set_aside"),
                "!4:world PostgreSQL refuses it with SQLSTATE 54000, !7:world timeline: expected an object");
    assert_text(storage.database.value("SELECT convert_from(raw, 'UTF8') FROM set_aside WHERE room_id = '!4:world'"),
                raw_of(first_part("!4:world", {event("$poison", "org.poison")})));
    ck_assert_uint_eq(storage.lines.size(), 2);
    ck_assert_int_eq(std::ranges::count(storage.watched.durable, true), durable_before + 1);
    assert_text(storage.database.value("SELECT since FROM device WHERE id = " + std::to_string(a.device.value)), "next");

    // Its next part is tried together with what was set aside, in order.
    ingest(storage, piece(a, "next", one(part("!4:world", {event("$after")})), "later"));
    assert_text(storage.count("set_aside WHERE room_id = '!4:world'"), "2");
    storage.database.execute("DROP TRIGGER refuse ON event");
    ingest(storage, piece(a, "later", one(part("!4:world", {event("$last")})), "last"));
    assert_text(storage.told(a.device, "!4:world"), "|1:$poison; 1:$after; 1:$last");
    assert_text(storage.count("set_aside WHERE room_id = '!4:world'"), "0");
}
END_TEST

START_TEST(what_no_room_is_to_blame_for_is_thrown) {
    Storage storage;
    Lease lease = storage.device("A");
    int failures = 0;
    storage.watched.before = [&](const Statement& statement) {
        if (std::string(statement.name) != "event_insert") return;
        ++failures;
        throw StatementFailed("53100", "disk full");
    };
    try {
        ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
        ck_abort_msg("nothing was thrown");
    } catch (const StatementFailed& failure) {
        assert_text(failure.sqlstate, "53100");
    }
    ck_assert_int_eq(failures, 2);
    storage.watched.before = [&](const Statement&) { throw DatabaseUnavailable("gone"); };
    try {
        ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
        ck_abort_msg("nothing was thrown");
    } catch (const DatabaseUnavailable&) {
    }
    storage.watched.before = {};
    assert_text(storage.count("set_aside"), "0");
    assert_text(storage.count("log"), "0");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    assert_text(storage.count("log"), "1");
}
END_TEST

START_TEST(an_event_of_another_room_sets_the_room_aside) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    std::vector<RoomPart> rooms;
    rooms.push_back(part("!r:world", {event("$2")}));
    rooms.push_back(first_part("!s:world", {event("$1")}));
    auto ingested = ingest(storage, piece(lease, "next", std::move(rooms)));
    ck_assert_uint_eq(ingested.news.entries.size(), 1);
    ck_assert(ingested.without_state.empty());
    assert_text(storage.told(lease.device, "!s:world"), "");
    assert_text(storage.database.value("SELECT reason FROM set_aside"), "it lists an event of another room");
}
END_TEST

START_TEST(a_room_without_create_is_set_aside_until_its_state_is_known) {  // rule 11
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, {}));
    auto first = ingest(storage, piece(lease, "next", one(part("!r:world", {event("$1")})), "s1"));
    ck_assert(first.without_state == std::vector<RoomId>{RoomId{"!r:world"}});
    ck_assert(first.news.entries.empty());
    auto second = ingest(storage, piece(lease, "s1", one(part("!r:world", {event("$2")})), "s2"));
    ck_assert_uint_eq(second.without_state.size(), 1);
    assert_text(storage.count("set_aside"), "2");
    assert_text(storage.count("log"), "0");

    std::vector<Event> state{event("$name", "m.room.name", "")};
    auto still = ingest_aside(storage, lease, RoomId{"!r:world"}, state);
    ck_assert(still.news.entries.empty() && still.without_state.empty());
    assert_text(storage.count("set_aside"), "2");
    state.push_back(create("!r:world"));
    auto found = ingest_aside(storage, lease, RoomId{"!r:world"}, state);
    assert_read_back(storage, lease.device, found.news);
    ck_assert_uint_eq(found.news.entries.size(), 2);
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; 1:$2");
    assert_text(storage.count("set_aside"), "0");
    ck_assert_uint_eq(storage.state(found.news.entries.back().state).size(), 2);
    ck_assert(ingest_aside(storage, lease, RoomId{"!r:world"}, state).news.entries.empty());
}
END_TEST

START_TEST(of_a_room_set_aside_the_newest_hundred_parts_are_kept) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, {}, "s0"));
    const int parts = 110;
    for (int i = 0; i < parts; ++i) {
        ingest(storage,
               piece(lease, "s" + std::to_string(i), one(part("!r:world", {event("$" + std::to_string(i))})), "s" + std::to_string(i + 1)));
    }
    assert_text(storage.count("set_aside"), "101");  // and the newest one, which is counted when it is tried again
    ingest_aside(storage, lease, RoomId{"!r:world"}, {create("!r:world")});
    std::string told = "|1:$10";
    for (int i = 11; i < parts; ++i) told += "; 1:$" + std::to_string(i);
    assert_text(storage.told(lease.device, "!r:world"), told);
    assert_text(storage.count("set_aside"), "0");
}
END_TEST

START_TEST(a_new_beginning_does_without_what_was_set_aside) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    RoomPart broken = part("!r:world", {});
    broken.broken = "no";
    broken.raw = "[]";
    ingest(storage, piece(lease, "next", one(broken), "s1"));
    ingest(storage, piece(lease, "s1", one(part("!r:world", {event("$3")})), "s2"));
    assert_text(storage.count("set_aside"), "2");
    ingest(storage, piece(lease, "s2", one(part("!r:world", {event("$4")}, {}, Section::leave)), "s3"));
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; |2:$4");
    assert_text(storage.count("set_aside"), "0");

    // Also where it is PostgreSQL that refuses the part set aside.
    refuse_poison(storage);
    ingest(storage, piece(lease, "s3", one(first_part("!p:world", {event("$p1")})), "s3"));
    ingest(storage, piece(lease, "s3", one(part("!p:world", {event("$p2", "org.poison")})), "s3a"));
    assert_text(storage.count("set_aside"), "1");
    ingest(storage, piece(lease, "s3a", one(part("!p:world", {event("$p3")}, {}, Section::leave)), "s3b"));
    assert_text(storage.told(lease.device, "!p:world"), "|1:$p1; |2:$p3");
    assert_text(storage.count("set_aside"), "0");

    // A room of which nothing but a part set aside is known is left without a trace.
    ingest(storage, piece(lease, "s3", one(part("!s:world", {event("$5")})), "s4"));
    ingest(storage, piece(lease, "s4", one(part("!s:world", {event("$6")}, {}, Section::leave)), "s5"));
    assert_text(storage.told(lease.device, "!s:world"), "");
    assert_text(storage.count("set_aside"), "0");
}
END_TEST

START_TEST(a_repeated_answer_replaces_what_was_set_aside_of_it) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    RoomPart broken = part("!r:world", {event("$2")});
    broken.broken = "no";
    ingest(storage, piece(lease, "next", one(broken), std::nullopt));
    ingest(storage, piece(lease, "next", one(part("!r:world", {event("$2"), event("$3")})), "s1"));
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; 1:$2 $3");
    assert_text(storage.count("set_aside"), "0");
}
END_TEST

START_TEST(an_answer_without_since_leaves_what_it_omits) {
    Storage storage;
    Lease lease = storage.device("A");
    std::vector<RoomPart> rooms;
    for (const char* room : {"!kept:w", "!gone:w", "!early:w", "!aside:w"})
        rooms.push_back(first_part(room, {event(std::string("$1") + room)}));
    rooms.push_back(part("!invited:w", {}, {}, Section::invite));
    ingest(storage, piece(lease, std::nullopt, std::move(rooms), "s1"));
    lease = storage.claim(lease.device);

    // A first answer that was cut off listed a room that the next one does not.
    ingest(storage, piece(lease, std::nullopt, one(first_part("!gone:w", {event("$2!gone:w")})), std::nullopt));
    lease = storage.claim(lease.device);
    const Position began = complete(storage.logs.device(UserId{"@u:world"}, DeviceId{"A"})).end;
    RoomPart broken = first_part("!aside:w", {});
    broken.broken = "no";
    std::vector<RoomPart> early;
    early.push_back(first_part("!early:w", {event("$2!early:w")}));
    early.push_back(broken);
    ingest(storage, piece(lease, std::nullopt, std::move(early), std::nullopt));
    auto last = piece(lease, std::nullopt, one(first_part("!kept:w", {event("$2!kept:w")})), "s2");
    last.began = began;
    auto ingested = ingest(storage, std::move(last));
    assert_read_back(storage, lease.device, ingested.news);
    assert_text(storage.told(lease.device, "!kept:w"), "|1:$1!kept:w; |1:$2!kept:w");
    assert_text(storage.told(lease.device, "!early:w"), "|1:$1!early:w; |1:$2!early:w");
    assert_text(storage.told(lease.device, "!aside:w"), "|1:$1!aside:w");
    assert_text(storage.told(lease.device, "!gone:w"), "|1:$1!gone:w; |1:$2!gone:w; |2:");
    assert_text(storage.told(lease.device, "!invited:w"), "|3:; |2:");
    assert_text(storage.database.value("SELECT string_agg(room_id, ' ') FROM set_aside"), "!aside:w");
}
END_TEST

START_TEST(invites_are_retired_and_stray_leaves_make_no_room) {  // rules 11 and 15
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, {}));
    ingest(storage, piece(lease, "next", one(part("!r:w", {}, {}, Section::invite))));
    ingest(storage, piece(lease, "next", one(part("!r:w", {event("$1", "m.room.member", "@u:world")}, {}, Section::leave))));
    assert_text(storage.told(lease.device, "!r:w"), "|3:; 2:$1");
    auto stray = ingest(storage, piece(lease, "next", one(part("!s:w", {event("$2", "m.room.member", "@u:world")}, {}, Section::leave))));
    ck_assert(stray.news.entries.empty());
    ck_assert(!storage.room("!s:w"));
    ingest(storage, piece(lease, "next", one(first_part("!r:w", {event("$3")}))));
    assert_text(storage.told(lease.device, "!r:w"), "|3:; 2:$1; |1:$3");
}
END_TEST

START_TEST(redactions_change_what_is_stored) {  // rule 16
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    ingest(storage, piece(a, std::nullopt, one(first_part("!r:w", {event("$target"), event("$other")}))));
    ck_assert(storage.body("$target").find("text of " + std::string("$target")) != std::string::npos);
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$redaction", "$target")}))));
    ck_assert(storage.body("$target").find("text of " + std::string("$target")) == std::string::npos);
    ck_assert(storage.body("$target").find("redacted_because") != std::string::npos);
    ck_assert(storage.body("$other").find("text of " + std::string("$other")) != std::string::npos);
    // State too: the sets point to the same row.
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$redaction2", "$name!r:w")}))));
    ck_assert(storage.body("$name!r:w").find("text of " + std::string("$name!r:w")) == std::string::npos);

    // The redaction first, its target in a later answer, or in the same one.
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$early", "$late")}))));
    assert_text(storage.body("$late"), "");
    assert_text(storage.count("event WHERE room = 0"), "0");
    ingest(storage, piece(b, std::nullopt, one(first_part("!r:w", {event("$late"), redaction("$r3", "$same"), event("$same")}))));
    ck_assert(storage.body("$late").find("text of " + std::string("$late")) == std::string::npos);
    ck_assert(storage.body("$same").find("text of " + std::string("$same")) == std::string::npos);

    // Not across rooms.
    ingest(storage, piece(a, "next", one(first_part("!s:w", {redaction("$foreign", "$other")}))));
    ck_assert(storage.body("$other").find("text of " + std::string("$other")) != std::string::npos);

    // A homeserver that gives the redacted event has redacted it, seen the redaction or not.
    Event redacted = event("$other");
    redacted.body = R"({"type":"m.room.message","content":{},"unsigned":{"redacted_because":{}}})";
    ingest(storage, piece(b, "next", one(part("!r:w", {redacted}))));
    assert_text(storage.body("$other"), redacted.body);
    Event pretended = event("$fake");
    pretended.body = R"({"type":"m.room.message","content":{"redacted_because":{},"body":"text of $fake"}})";
    ingest(storage, piece(b, "next", one(part("!r:w", {pretended}))));
    ingest(storage, piece(b, "next", one(part("!r:w", {redaction("$r4", "$fake")}))));
    ck_assert(storage.body("$fake").find("text of " + std::string("$fake")) == std::string::npos);
}
END_TEST

START_TEST(events_that_are_new_are_given_back_as_they_are_stored) {
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    auto stored = [&](LogStore::Piece what) {
        const LogStore::Ingested ingested = ingest(storage, std::move(what));
        std::string ids;
        for (const StoredEvent& event : ingested.stored) {
            ids += (ids.empty() ? "" : " ") + event.event_id.value;
            const StoredEvent read = complete(storage.rooms.events({event.ref})).at(0);
            assert_text(event.body, read.body);
            assert_text(event.type + event.sender.value + event.event_id.value, read.type + read.sender.value + read.event_id.value);
            ck_assert(event.room == read.room && event.state_key == read.state_key && event.origin_server_ts == read.origin_server_ts);
        }
        return ids;
    };
    assert_text(stored(piece(a, std::nullopt, one(first_part("!r:w", {event("$1")})))), "");
    assert_text(stored(piece(a, "next", one(part("!r:w", {event("$1"), event("$2"), event("$3", "m.room.topic", "")})))), "$2 $3");
    ck_assert(stored(piece(b, std::nullopt, one(first_part("!r:w", {event("$3")})))).empty());
    assert_text(stored(piece(b, "next", one(part("!r:w", {event("$3"), event("$4")})))), "$4");
    // One that is redacted by what was stored with it, or before it, is not as it came.
    assert_text(stored(piece(a, "next", one(part("!r:w", {event("$5"), redaction("$r1", "$5"), redaction("$r2", "$6")})))), "$r1 $r2");
    assert_text(stored(piece(a, "next", one(part("!r:w", {event("$6"), event("$7")})))), "$7");
    Event redacted = event("$8");
    redacted.body = R"({"type":"m.room.message","event_id":"$8","content":{},"unsigned":{"redacted_because":{}}})";
    assert_text(stored(piece(a, "next", one(part("!r:w", {redacted})))), "");
    assert_text(stored(piece(a, "next", one(part("!r:w", {event("$9"), redacted})))), "$9");
    ck_assert(ingest(storage, piece(b, "next", one(part("!r:w", {redacted})))).news.entries.at(0).redacts);
}
END_TEST

START_TEST(a_redaction_meets_its_target_while_both_are_stored) {  // rule 16
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    ingest(storage, piece(a, std::nullopt, one(first_part("!r:w", {event("$1")}))));
    BlockingDatabase elsewhere(postgres().conninfo(storage.database.value("SELECT current_database()")));
    for (const bool redaction_first : {true, false}) {
        const std::string target = redaction_first ? "$target1" : "$target2";
        RoomPart redacting = part("!r:w", {redaction("$of" + target, target)});
        RoomPart redacted = first_part("!r:w", {event(target)});
        storage.watched.commits.closed = true;
        Running first(storage, redaction_first ? piece(a, "next", one(redacting)) : piece(b, std::nullopt, one(redacted)));
        ck_assert_uint_eq(storage.watched.commits.waiting(), 1);
        std::string error;
        std::thread second([&] {
            try {
                FakeLoop loop;
                PostgresLogs logs(elsewhere, loop, [](const std::string&) {});
                complete(logs.ingest(redaction_first ? piece(b, std::nullopt, one(redacted)) : piece(a, "next", one(redacting))),
                         [&] { loop.turn(); });
            } catch (const std::exception& thrown) {
                error = thrown.what();
            }
        });
        wait_for_lock(storage);
        storage.watched.commits.open();
        second.join();
        assert_text(error, "");
        ck_assert(first.result.has_value());
        ck_assert(storage.body(target).find("text of " + std::string(target)) == std::string::npos);
    }
}
END_TEST

START_TEST(what_since_acknowledges_is_stored_with_it) {  // rule 2
    Storage storage;
    Lease lease = storage.device("A");
    storage.watched.durable.clear();
    auto first = piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")})), "s1");
    first.rest->account_data = {{"m.direct", "{1}"}, {"m.push_rules", "{2}"}, {"m.direct", "{3}"}};
    ingest(storage, std::move(first));
    ck_assert(!storage.watched.durable.back());

    auto second = piece(lease, "s1", one(part("!r:w", {event("$2")})), "s2");
    second.rest->to_device = {"{one}", "{two}"};
    second.rest->device_lists_changed = {UserId{"@a:w"}, UserId{"@b:w"}};
    second.rest->device_lists_left = {UserId{"@c:w"}};
    second.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    auto ingested = ingest(storage, std::move(second));
    ck_assert(storage.watched.durable.back());
    ck_assert_int_eq(ingested.news.to.value - ingested.news.from.value, 1 + 2 + 3 + 1);
    assert_read_back(storage, lease.device, ingested.news);
    auto claimed = complete(storage.logs.claim(lease.device, WorkerKey{1}));
    assert_text(claimed.since.value_or("none"), "s2");
    lease = *claimed.lease;

    // Nothing of an answer that fails.
    storage.watched.before = [](const Statement& statement) {
        if (std::string(statement.name) == "ingest_advance") throw StatementFailed("53100", "disk full");
    };
    auto third = piece(lease, "s2", {}, "s3");
    third.rest->to_device = {"{three}"};
    try {
        ingest(storage, std::move(third));
        ck_abort_msg("nothing was thrown");
    } catch (const StatementFailed&) {
    }
    storage.watched.before = {};
    auto messages = complete(storage.logs.to_device(lease.device, Position{}, 10));
    ck_assert_uint_eq(messages.size(), 2);
    assert_text(messages[1].body, "{two}");
    auto data = complete(storage.logs.account_data(lease.device, Position{}));
    ck_assert_uint_eq(data.size(), 2);
    assert_text(data[0].body, "{3}");

    // Latest wins.
    auto fourth = piece(lease, "s2", {}, "s3");
    fourth.rest->device_lists_left = {UserId{"@a:w"}};
    fourth.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    ck_assert(!ingest(storage, std::move(fourth)).news.key_counts);
    auto lists = complete(storage.logs.device_lists(lease.device, Position{}));
    ck_assert_uint_eq(lists.size(), 3);
    assert_text(lists[2].user.value, "@a:w");
    ck_assert(lists[2].left && !lists[0].left && lists[1].left);

    // Absent and empty are two things (rule 25).
    auto counts = complete(storage.logs.key_counts(lease.device));
    ck_assert(counts.one_time_keys_count && !counts.unused_fallback_key_types);
    auto fifth = piece(lease, "s3", {}, "s4");
    fifth.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    fifth.rest->unused_fallback_key_types = "[]";
    auto changed = ingest(storage, std::move(fifth));
    ck_assert(changed.news.key_counts && changed.news.key_counts->unused_fallback_key_types == "[]");
    ck_assert(!storage.watched.durable.back());
}
END_TEST

START_TEST(a_repeated_poll_goes_on_where_the_cut_off_one_ended) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")})), "s1"));
    ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$2"), event("$3", "m.room.topic", "")})), std::nullopt));
    lease = storage.claim(lease.device);
    auto same = ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$2"), event("$3", "m.room.topic", "")})), std::nullopt));
    ck_assert(same.news.entries.empty());
    auto more = ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$3", "m.room.topic", ""), event("$4")})), "s2"));
    assert_text(storage.told(lease.device, "!r:w"), "|1:$1; 1:$2 $3; 1:$4");
    ck_assert(!more.news.entries[0].prev_batch);
    ck_assert(more.news.entries[0].seq.generation() == lease.epoch);
}
END_TEST

START_TEST(a_log_that_has_lost_its_end_is_not_gone_on_from) {
    Storage storage;
    Lease lease = storage.device("A");
    auto before = ingest(storage, piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")})), "s1"));
    storage.database.execute("CREATE TABLE copy AS SELECT * FROM device");
    auto lost = ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$2")})), "s2"));
    storage.database.execute("UPDATE device SET seq = copy.seq, since = copy.since, since_seq = copy.since_seq FROM copy");
    storage.database.execute("DELETE FROM log USING device WHERE log.seq > device.seq");
    auto next = piece(lease, "s2", one(part("!r:w", {event("$3")})), "s3");
    next.end = lost.news.to;
    auto refused = ingest(storage, std::move(next));
    ck_assert(refused.lease_lost && refused.news.entries.empty());
    auto again = piece(lease, "s1", one(part("!r:w", {event("$2"), event("$3")})), "s3");
    again.end = before.news.to;
    ck_assert(!ingest(storage, std::move(again)).lease_lost);
}
END_TEST

MATRIX_SYNC_SUITE("log ingest", a_lost_lease_changes_nothing, a_log_that_has_lost_its_end_is_not_gone_on_from,
                  pieces_that_wait_share_a_transaction, an_abandoned_piece_harms_nobody,
                  a_room_that_is_refused_is_set_aside_and_the_others_go_on, what_no_room_is_to_blame_for_is_thrown,
                  an_event_of_another_room_sets_the_room_aside, a_room_without_create_is_set_aside_until_its_state_is_known,
                  of_a_room_set_aside_the_newest_hundred_parts_are_kept, a_new_beginning_does_without_what_was_set_aside,
                  a_repeated_answer_replaces_what_was_set_aside_of_it, an_answer_without_since_leaves_what_it_omits,
                  invites_are_retired_and_stray_leaves_make_no_room, redactions_change_what_is_stored,
                  events_that_are_new_are_given_back_as_they_are_stored, a_redaction_meets_its_target_while_both_are_stored,
                  what_since_acknowledges_is_stored_with_it, a_repeated_poll_goes_on_where_the_cut_off_one_ended)
