// Snapshots of pages in PostgreSQL.
#include <thread>

#include "log_storage.hpp"
#include "matrix_sync/error.hpp"
#include "storage/sessions.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

struct SnapshotStorage : Storage {
    explicit SnapshotStorage(const std::string& conninfo = postgres().fresh_database()) : Storage(conninfo), other(conninfo) {
        database.execute("SET lock_timeout = '5s'");
    }

    SessionId session() { return complete(sessions.open(device("A").device, "{}", {}, Position{}, 10)).id; }
    int add(const SessionId& session, Paged stream, std::int64_t count = 0) {
        Snapshot snapshot;
        snapshot.params = "{}";
        snapshot.count = count;
        return complete(rooms.add_snapshot(session, stream, std::move(snapshot)));
    }
    bool has(const SessionId& session, Paged stream, int number) { return complete(rooms.snapshot(session, stream, number)).has_value(); }
    std::string refusal(const SessionId& session) {
        try {
            add(session, Paged::room_list);
        } catch (const MatrixError& error) {
            return error.errcode;
        }
        return "none";
    }

    BlockingDatabase other;
    PostgresSessions sessions{watched};
};

}  // namespace

START_TEST(the_newest_eight_of_each_stream_stay) {
    SnapshotStorage storage;
    const SessionId session = storage.session();
    const SessionId another = storage.session();
    const int members = storage.add(session, Paged::room_members, 7);
    const int anothers = storage.add(another, Paged::room_list);
    std::vector<int> lists;
    for (int i = 0; i < 9; ++i) lists.push_back(storage.add(session, Paged::room_list));
    ck_assert(!storage.has(session, Paged::room_list, lists[0]));
    for (int i = 1; i < 9; ++i) ck_assert(storage.has(session, Paged::room_list, lists[i]));
    ck_assert(storage.has(session, Paged::room_members, members) && storage.has(another, Paged::room_list, anothers));
    ck_assert(!storage.has(session, Paged::room_list, members) && !storage.has(another, Paged::room_list, lists[8]));
    ck_assert_int_eq(complete(storage.rooms.snapshot(session, Paged::room_members, members))->count, 7);

    // However there came to be more.
    storage.database.execute(
        "INSERT INTO snapshot SELECT session, number + 100, stream, params, count, rooms, room, version, power_levels, creation FROM "
        "snapshot");
    storage.add(session, Paged::room_list);
    assert_text(storage.count("snapshot WHERE stream = 2 AND session = '" + session.value + "'"), "8");
}
END_TEST

START_TEST(who_comes_at_the_same_time_gets_another_number) {
    SnapshotStorage storage;
    const SessionId session = storage.session();
    const int first = storage.add(session, Paged::room_list);
    storage.other.execute(
        "BEGIN; INSERT INTO snapshot SELECT session, number + 1, stream, params, count, rooms, room, version, "
        "power_levels, creation FROM snapshot");
    std::thread commits([&] {
        while (storage.other.value(
                   "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "0") {
        }
        storage.other.execute("COMMIT");
    });
    const int number = storage.add(session, Paged::room_list);
    commits.join();
    ck_assert_int_eq(number, first + 2);
}
END_TEST

START_TEST(a_session_that_is_going_is_gone) {
    SnapshotStorage storage;
    const SessionId session = storage.session();
    storage.add(session, Paged::room_list);
    storage.other.execute("BEGIN; DELETE FROM session");
    assert_text(storage.refusal(session), "M_UNKNOWN_SYNC_SESSION");
    storage.other.execute("COMMIT");
    assert_text(storage.refusal(session), "M_UNKNOWN_SYNC_SESSION");
    assert_text(storage.count("snapshot"), "0");
}
END_TEST

MATRIX_SYNC_SUITE("snapshots", the_newest_eight_of_each_stream_stay, who_comes_at_the_same_time_gets_another_number,
                  a_session_that_is_going_is_gone)
