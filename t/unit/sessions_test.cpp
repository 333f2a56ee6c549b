// Sessions, filters and tokens on a real PostgreSQL: what is kept, and for how long (rules 23, 26-28, 31).
#include "storage/sessions.hpp"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "assert_text.hpp"
#include "blocking_database.hpp"
#include "fake_loop.hpp"
#include "matrix_sync/error.hpp"
#include "postgres.hpp"
#include "storage/schema.hpp"
#include "storage/tokens.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr Milliseconds day{24 * 3600 * 1000};
constexpr Milliseconds hour{3600 * 1000};
const std::string nobody = "00000000-0000-0000-0000-000000000000";

/// One device with messages 1 to 9 and device lists of users 1 to 9, in a database of its own.
struct World {
    World() {
        complete(migrate(database));
        device = add_device("PHONE");
    }

    DeviceKey add_device(const std::string& name) {
        database.execute("INSERT INTO device (user_id, device_id, seq) VALUES ('@alice:a', '" + name + "', 9)");
        DeviceKey key{std::stoll(database.value("SELECT max(id) FROM device"))};
        std::string id = std::to_string(key.value);
        database.execute("INSERT INTO to_device SELECT " + id + ", i, '{}' FROM generate_series(1, 9) AS i");
        database.execute("INSERT INTO device_list SELECT " + id + ", '@' || i || ':a', i, false FROM generate_series(1, 9) AS i");
        return key;
    }

    SessionId open(std::optional<std::int64_t> to_device, std::optional<std::int64_t> e2ee = {}, int most = 10) {
        return complete(sessions.open(device, "{}", asks(to_device, e2ee), {}, most)).id;
    }
    void acknowledge(const SessionId& id, std::optional<std::int64_t> to_device, std::optional<std::int64_t> e2ee = {}) {
        complete(sessions.acknowledge(id, device, asks(to_device, e2ee)));
    }
    void unused_for(const SessionId& id, const std::string& interval) {
        database.execute("UPDATE session SET used = now() - interval '" + interval + "' WHERE id = '" + id.value + "'");
    }
    std::vector<SessionId> expire(int most = 10) { return complete(sessions.expire(day, most)); }

    std::string messages(DeviceKey of) {
        return database.value("SELECT string_agg(seq::text, '' ORDER BY seq) FROM to_device WHERE device = " + std::to_string(of.value));
    }
    std::string messages() { return messages(device); }
    std::string lists() { return database.value("SELECT string_agg(seq::text, '' ORDER BY seq) FROM device_list WHERE device = 1"); }
    Acknowledged acknowledged(const SessionId& id) {
        auto row = complete(sessions.session(id, day));
        if (!row) throw std::logic_error("no such session");
        return row->acknowledged;
    }

    static Acknowledged asks(std::optional<std::int64_t> to_device, std::optional<std::int64_t> e2ee = {}) {
        Acknowledged result;
        if (to_device) result.to_device = Position{*to_device};
        if (e2ee) result.e2ee = Position{*e2ee};
        return result;
    }

    std::string conninfo = postgres().fresh_database();
    BlockingDatabase database{conninfo};
    PostgresSessions sessions{database};
    PostgresTokens tokens{database};
    DeviceKey device;
};

}  // namespace

START_TEST(a_session_keeps_what_it_asked_for) {
    World world;
    auto opened = complete(world.sessions.open(world.device, R"({"typing":{}})", World::asks(0), {}, 10));
    ck_assert(opened.dropped.empty());
    auto row = complete(world.sessions.session(opened.id, day));
    ck_assert(row.has_value());
    ck_assert(row->device == world.device);
    ck_assert(row->acknowledged == World::asks(0));
    ck_assert(complete(world.sessions.filter(opened.id, 1)) == R"({"typing":{}})");
    ck_assert(!complete(world.sessions.filter(opened.id, 2)));
}
END_TEST

START_TEST(a_session_that_is_gone_or_never_was_is_none) {
    World world;
    SessionId id = world.open(0);
    world.unused_for(id, "23 hours");
    ck_assert(complete(world.sessions.session(id, day)).has_value());
    world.unused_for(id, "25 hours");
    ck_assert(!complete(world.sessions.session(id, day)));
    for (const std::string& name : {nobody, std::string("' OR true"), std::string()}) {
        SessionId other(name);
        ck_assert(!complete(world.sessions.session(other, day)));
        ck_assert(!complete(world.sessions.filter(other, 1)));
        ck_assert(!complete(world.sessions.add_filter(other, 1, "{}")));
        world.acknowledge(other, 9);
    }
    assert_text(world.messages(), "123456789");
}
END_TEST

START_TEST(no_session_for_a_device_that_is_gone) {
    World world;
    try {
        complete(world.sessions.open(DeviceKey{77}, "{}", World::asks(0), {}, 10));
        ck_abort_msg("a session was opened");
    } catch (const StatementFailed&) {
    }
    assert_text(world.database.value("SELECT count(*) FROM session"), "0");
}
END_TEST

START_TEST(the_longest_unused_are_dropped_above_the_most) {
    World world;
    SessionId oldest = world.open(0);
    SessionId newest = world.open(0);
    SessionId older = world.open(0);
    world.unused_for(oldest, "3 hours");
    world.unused_for(older, "2 hours");
    world.unused_for(newest, "1 hour");
    auto opened = complete(world.sessions.open(world.device, "{}", World::asks(0), {}, 2));
    std::vector<SessionId> expected{oldest, older};
    std::sort(expected.begin(), expected.end());
    std::sort(opened.dropped.begin(), opened.dropped.end());
    ck_assert(opened.dropped == expected);
    ck_assert(complete(world.sessions.session(newest, day)).has_value());
    ck_assert(complete(world.sessions.session(opened.id, day)).has_value());
    assert_text(world.database.value("SELECT count(*) FROM filter"), "2");

    auto only = complete(world.sessions.open(world.device, "{}", World::asks(0), {}, 1));
    ck_assert_uint_eq(only.dropped.size(), 2);
    assert_text(world.database.value("SELECT id FROM session"), only.id.value);
}
END_TEST

START_TEST(sessions_of_other_devices_are_not_dropped) {
    World world;
    SessionId mine = world.open(0);
    DeviceKey tablet = world.add_device("TABLET");
    auto opened = complete(world.sessions.open(tablet, "{}", World::asks(0), {}, 1));
    ck_assert(opened.dropped.empty());
    ck_assert(complete(world.sessions.session(mine, day)).has_value());
}
END_TEST

START_TEST(messages_stay_until_every_asking_session_has_them) {  // rule 23
    World world;
    SessionId a = world.open(0, 0);
    SessionId b = world.open(0, 0);
    world.open({}, {});
    world.acknowledge(a, 5, 3);
    assert_text(world.messages(), "123456789");
    assert_text(world.lists(), "123456789");
    world.acknowledge(b, 2, 7);
    assert_text(world.messages(), "3456789");
    assert_text(world.lists(), "456789");
    world.acknowledge(b, 9, 9);
    assert_text(world.messages(), "6789");
    ck_assert(world.acknowledged(a) == World::asks(5, 3));
}
END_TEST

START_TEST(nothing_is_deleted_before_one_session_has_acknowledged) {  // rule 23
    World world;
    SessionId only = world.open(0);
    SessionId silent = world.open({});
    world.acknowledge(silent, {});
    world.acknowledge(only, {});
    assert_text(world.messages(), "123456789");
}
END_TEST

START_TEST(an_acknowledgement_never_goes_back) {  // rule 26
    World world;
    SessionId a = world.open(0);
    SessionId b = world.open(0);
    world.acknowledge(a, 5);
    world.acknowledge(a, 3);
    ck_assert(world.acknowledged(a) == World::asks(5));
    world.acknowledge(b, 9);
    assert_text(world.messages(), "6789");
}
END_TEST

START_TEST(a_stream_that_is_dropped_holds_nothing_back) {
    World world;
    SessionId a = world.open(0, 0);
    SessionId b = world.open(0, 0);
    world.acknowledge(a, 5, 5);
    world.acknowledge(b, {}, 0);
    assert_text(world.messages(), "6789");
    assert_text(world.lists(), "123456789");
    world.acknowledge(b, {}, {});
    assert_text(world.lists(), "6789");
    // Nobody asks any more: what one has acknowledged goes, and no more than that.
    world.acknowledge(a, {}, {});
    assert_text(world.messages(), "6789");
}
END_TEST

START_TEST(a_session_that_starts_asking_gets_everything_still_kept) {
    World world;
    SessionId a = world.open(0);
    SessionId b = world.open({});
    world.acknowledge(a, 5);
    world.acknowledge(b, 0);
    ck_assert(world.acknowledged(b) == World::asks(0));
    world.acknowledge(a, 9);
    assert_text(world.messages(), "6789");
    // The same for one that had dropped it further on.
    world.acknowledge(b, 8);
    world.acknowledge(b, {});
    assert_text(world.messages(), "NULL");
    world.database.execute("UPDATE device SET seq = 20; INSERT INTO to_device VALUES (1, 20, '')");
    world.acknowledge(b, 0);
    ck_assert(world.acknowledged(b) == World::asks(0));
    world.acknowledge(a, 20);
    assert_text(world.messages(), "20");
    world.acknowledge(b, 20);
    assert_text(world.messages(), "NULL");
}
END_TEST

START_TEST(a_number_beyond_the_log_counts_as_its_end) {
    World world;
    SessionId id = world.open(0, 0);
    world.acknowledge(id, 1LL << 40, 1LL << 40);
    ck_assert(world.acknowledged(id) == World::asks(9, 9));
    world.database.execute("UPDATE device SET seq = 20; INSERT INTO to_device VALUES (1, 20, '')");
    world.acknowledge(id, 9, 9);
    assert_text(world.messages(), "20");
}
END_TEST

START_TEST(a_session_of_one_device_does_nothing_for_another) {  // rule 31
    World world;
    SessionId mine = world.open(0);
    DeviceKey tablet = world.add_device("TABLET");
    complete(world.sessions.acknowledge(mine, tablet, World::asks(9, 9)));
    assert_text(world.messages(tablet), "123456789");
    ck_assert(world.acknowledged(mine) == World::asks(0));

    world.acknowledge(mine, 4);
    assert_text(world.messages(), "56789");
    assert_text(world.messages(tablet), "123456789");
}
END_TEST

START_TEST(what_only_a_dropped_session_held_back_goes_with_it) {
    World world;
    SessionId slow = world.open(0, 0);
    SessionId quick = world.open(0, 0);
    world.acknowledge(quick, 7, 7);
    assert_text(world.messages(), "123456789");
    world.unused_for(slow, "1 hour");
    auto opened = complete(world.sessions.open(world.device, "{}", Acknowledged{}, {}, 2));
    ck_assert(opened.dropped == std::vector<SessionId>{slow});
    assert_text(world.messages(), "89");
    assert_text(world.lists(), "89");
}
END_TEST

START_TEST(what_only_an_expired_session_held_back_goes_with_it) {
    World world;
    SessionId slow = world.open(0, 0);
    SessionId quick = world.open(0, 0);
    world.acknowledge(quick, 7, 7);
    ck_assert(world.expire().empty());
    world.unused_for(slow, "25 hours");
    ck_assert(world.expire() == std::vector<SessionId>{slow});
    assert_text(world.messages(), "89");
    assert_text(world.lists(), "89");
    ck_assert(world.expire().empty());
    ck_assert(complete(world.sessions.session(quick, day)).has_value());
    // Without any session, what nobody has acknowledged stays.
    world.unused_for(quick, "25 hours");
    ck_assert(world.expire() == std::vector<SessionId>{quick});
    assert_text(world.messages(), "89");
    assert_text(world.database.value("SELECT count(*) FROM filter"), "0");
}
END_TEST

START_TEST(expiry_takes_small_steps_over_many_devices) {
    World world;
    std::vector<SessionId> all;
    for (int i = 0; i < 6; ++i) {
        world.device = world.add_device("D" + std::to_string(i));
        for (int j = 0; j < 2; ++j) all.push_back(world.open(0));
    }
    for (const auto& id : all) world.unused_for(id, "2 days");
    std::vector<SessionId> gone;
    for (std::size_t expected : {5, 5, 2, 0}) {
        auto some = world.expire(5);
        ck_assert_uint_eq(some.size(), expected);
        gone.insert(gone.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    std::sort(gone.begin(), gone.end());
    ck_assert(gone == all);
}
END_TEST

START_TEST(touched_sessions_and_devices_are_in_use) {
    World world;
    std::vector<UsedSession> sessions;
    for (int i = 0; i < 250; ++i) sessions.push_back({world.open({}, {}, 1000), Position{7}});
    world.database.execute("UPDATE session SET used = now() - interval '2 days'; UPDATE device SET used = now() - interval '2 days'");
    ck_assert(!complete(world.sessions.in_use(world.device, hour)));
    complete(world.sessions.touch(sessions, {world.device, DeviceKey{77}}));
    ck_assert(complete(world.sessions.in_use(world.device, hour)));
    ck_assert(!complete(world.sessions.in_use(DeviceKey{77}, hour)));
    ck_assert(world.expire().empty());
    auto last = complete(world.sessions.session(sessions.back().id, hour));
    ck_assert(last && last->reach == Position{7});
    complete(world.sessions.touch({}, {}));
}
END_TEST

START_TEST(opening_a_session_uses_the_device) {
    World world;
    world.database.execute("UPDATE device SET used = now() - interval '2 days'");
    world.open({});
    ck_assert(complete(world.sessions.in_use(world.device, hour)));
}
END_TEST

START_TEST(filters_are_numbered_and_found_again) {  // rule 26
    World world;
    SessionId id = world.open({});
    auto add = [&](int base, const std::string& body) { return complete(world.sessions.add_filter(id, base, body)); };
    ck_assert(add(1, "b") == 2);
    ck_assert(add(1, "b") == 2);  // the lost answer, asked for again
    ck_assert(add(1, "c") == 3);
    ck_assert(complete(world.sessions.filter(id, 1)) == "{}");
    ck_assert(add(2, "b") == 4);  // never a number that means something already
    ck_assert(!complete(world.sessions.filter(id, 1)));
    ck_assert(complete(world.sessions.filter(id, 2)) == "b");
    ck_assert(complete(world.sessions.filter(id, 3)) == "c");
    ck_assert(add(4, "d") == 5);
    assert_text(world.database.value("SELECT string_agg(number::text, ',' ORDER BY number) FROM filter"), "4,5");
}
END_TEST

START_TEST(filters_do_not_pile_up) {
    World world;
    SessionId id = world.open({});
    for (int i = 2; i <= 250; ++i) ck_assert(complete(world.sessions.add_filter(id, 1, "filter " + std::to_string(i))) == i);
    ck_assert(complete(world.sessions.filter(id, 1)) == "{}");
    ck_assert(complete(world.sessions.filter(id, 200)) == "filter 200");
    ck_assert_int_le(std::stoi(world.database.value("SELECT count(*) FROM filter")), 102);
}
END_TEST

START_TEST(sessions_at_once_lose_nothing) {
    World world;
    constexpr int clients = 4;
    std::vector<SessionId> ids;
    for (int i = 0; i < clients; ++i) ids.push_back(world.open(0, 0));
    std::vector<std::string> errors(clients);
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i) {
        threads.emplace_back([&world, id = ids[i], &error = errors[i]] {
            try {
                BlockingDatabase database(world.conninfo);
                PostgresSessions sessions(database);
                for (int position = 1; position <= 9; ++position) {
                    complete(sessions.acknowledge(id, world.device, World::asks(position, position)));
                    complete(sessions.touch({{id, Position{position}}}, {world.device}));
                    complete(sessions.add_filter(id, position, "x"));
                }
            } catch (const std::exception& thrown) {
                error = thrown.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) assert_text(error, "");
    assert_text(world.messages(), "NULL");
    assert_text(world.lists(), "NULL");
}
END_TEST

START_TEST(tokens_are_known_by_their_hash) {
    World world;
    ck_assert(!complete(world.tokens.token("syt_secret")));
    complete(world.tokens.remember_token("syt_secret", world.device));
    auto known = complete(world.tokens.token("syt_secret"));
    ck_assert(known.has_value());
    ck_assert(known->row.key == world.device);
    assert_text(known->row.user.value, "@alice:a");
    assert_text(known->row.device.value, "PHONE");
    ck_assert(!known->row.owner);
    ck_assert_int_eq(known->row.end.value, 9);
    ck_assert(!known->row.whole);
    ck_assert(known->age < hour);
    assert_text(world.database.value("SELECT encode(hash, 'hex') FROM token"),
                world.database.value("SELECT encode(sha256('syt_secret'), 'hex')"));

    world.database.execute("UPDATE token SET verified = now() - interval '90 seconds'; UPDATE device SET owner = 5, since = 's1'");
    known = complete(world.tokens.token("syt_secret"));
    ck_assert(known->age >= Milliseconds{90'000} && known->age < hour);
    ck_assert(known->row.owner == WorkerKey{5});
    ck_assert(known->row.whole);

    complete(world.tokens.remember_token("syt_secret", world.device));
    ck_assert(complete(world.tokens.token("syt_secret"))->age < Milliseconds{90'000});
    complete(world.tokens.forget_token("syt_secret"));
    ck_assert(!complete(world.tokens.token("syt_secret")));
}
END_TEST

START_TEST(old_tokens_of_a_device_go) {
    World world;
    DeviceKey tablet = world.add_device("TABLET");
    complete(world.tokens.remember_token("old", world.device));
    complete(world.tokens.remember_token("of the other", tablet));
    world.database.execute("UPDATE token SET verified = now() - interval '8 days'");
    complete(world.tokens.remember_token("recent", world.device));
    complete(world.tokens.remember_token("new", world.device));
    ck_assert(!complete(world.tokens.token("old")));
    ck_assert(complete(world.tokens.token("recent")).has_value());
    ck_assert(complete(world.tokens.token("of the other")).has_value());
}
END_TEST

MATRIX_SYNC_SUITE("sessions", a_session_keeps_what_it_asked_for, a_session_that_is_gone_or_never_was_is_none,
                  no_session_for_a_device_that_is_gone, the_longest_unused_are_dropped_above_the_most,
                  sessions_of_other_devices_are_not_dropped, messages_stay_until_every_asking_session_has_them,
                  nothing_is_deleted_before_one_session_has_acknowledged, an_acknowledgement_never_goes_back,
                  a_stream_that_is_dropped_holds_nothing_back, a_session_that_starts_asking_gets_everything_still_kept,
                  a_number_beyond_the_log_counts_as_its_end, a_session_of_one_device_does_nothing_for_another,
                  what_only_a_dropped_session_held_back_goes_with_it, what_only_an_expired_session_held_back_goes_with_it,
                  expiry_takes_small_steps_over_many_devices, touched_sessions_and_devices_are_in_use, opening_a_session_uses_the_device,
                  filters_are_numbered_and_found_again, filters_do_not_pile_up, sessions_at_once_lose_nothing,
                  tokens_are_known_by_their_hash, old_tokens_of_a_device_go)
