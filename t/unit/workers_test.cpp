// Workers on a real PostgreSQL, under a clock that the test moves: registration, who is alive, and what they tell each other.
#include "storage/workers.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "assert_text.hpp"
#include "blocking_database.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "storage/schema.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr Milliseconds beat{2'000};
constexpr Milliseconds lease{6'000};
/// For a notification that has been committed to arrive.
constexpr Milliseconds soon{10'000};

/// A worker as the service would use it, with a connection of its own.
struct Worker : WorkerStore::Mail {
    Worker(FakeLoop& its_loop, const std::string& conninfo, const std::string& name)
        : loop(its_loop), database(conninfo), store(database, loop, name, [this](LogLevel level, const std::string& line) {
              log.push_back(std::to_string(static_cast<int>(level)) + " " + line);
          }) {
        store.attach(*this);
    }

    void start() {
        database.connect();
        loop.settle();
    }
    void registered(WorkerKey key) override {
        self = key;
        // Whoever is registered is known, and can be told things.
        knew_itself = store.alive(key);
        listened = database.value("SELECT string_agg(c, ' ' ORDER BY c) FROM pg_listening_channels() AS c");
        ++registrations;
    }
    void disconnected() override { ++disconnections; }
    void told(std::string_view message) override { heard.emplace_back(message); }

    /// Waits for so many messages in all.
    void hear(std::size_t count) {
        while (heard.size() < count) {
            if (!database.poll_notifications(soon)) throw std::runtime_error("nothing is heard");
        }
    }
    /// Everything that was sent before has been heard when this returns.
    void hear_all() {
        database.execute("NOTIFY matrix_sync, 'end of test'");
        while (heard.empty() || heard.back() != "end of test") hear(heard.size() + 1);
        heard.pop_back();
    }

    FakeLoop& loop;
    BlockingDatabase database;
    std::vector<std::string> log;
    PostgresWorkers store;
    WorkerKey self;
    bool knew_itself = false;
    std::string listened;
    int registrations = 0;
    int disconnections = 0;
    std::vector<std::string> heard;
};

std::string row_of(const Worker& worker) {
    return "id = " + std::to_string(worker.self.value);
}

}  // namespace

START_TEST(a_worker_migrates_listens_and_registers) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    ck_assert(!worker.store.alive(WorkerKey{1}));
    worker.start();
    ck_assert_int_eq(worker.registrations, 1);
    ck_assert(worker.knew_itself);
    assert_text(worker.listened, "matrix_sync matrix_sync_w" + std::to_string(worker.self.value));
    assert_text(worker.database.value("SELECT name FROM worker WHERE " + row_of(worker)), "host:1");
    assert_text(worker.database.value("SELECT alive_until - clock_timestamp() BETWEEN '1 s' AND '6 s' FROM worker"), "t");
    ck_assert(!worker.store.alive(WorkerKey{}));
    ck_assert(worker.log.empty());
}
END_TEST

START_TEST(its_row_is_kept_alive) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    worker.database.execute("UPDATE worker SET alive_until = clock_timestamp() + interval '1 minute'");
    loop.advance(beat - Milliseconds{1});
    assert_text(worker.database.value("SELECT alive_until > clock_timestamp() + interval '7 s' FROM worker"), "t");
    loop.advance(Milliseconds{1});
    assert_text(worker.database.value("SELECT alive_until > clock_timestamp() + interval '7 s' FROM worker"), "f");
    loop.advance(Milliseconds{60'000});
    ck_assert_int_eq(worker.registrations, 1);
    ck_assert(worker.store.alive(worker.self));
}
END_TEST

START_TEST(workers_know_who_is_alive) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    Worker b(loop, conninfo, "host:2");
    a.start();
    b.start();
    ck_assert(a.self != b.self);
    ck_assert(b.store.alive(a.self));
    ck_assert(!a.store.alive(b.self));  // not since the last beat
    loop.advance(beat);
    ck_assert(a.store.alive(b.self));
    ck_assert(!a.store.alive(WorkerKey{77}));

    a.database.execute("UPDATE worker SET alive_until = clock_timestamp() - interval '1 s' WHERE " + row_of(b));
    WorkerKey dead = b.self;
    loop.advance(beat);
    ck_assert(!a.store.alive(dead));
}
END_TEST

START_TEST(the_dead_are_buried_after_an_hour) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    worker.database.execute(
        "INSERT INTO worker (name, alive_until) VALUES ('long dead', clock_timestamp() - interval '61 minutes'), ('dead', "
        "clock_timestamp() - interval '59 minutes')");
    loop.advance(beat);
    assert_text(worker.database.value("SELECT string_agg(name, ' ' ORDER BY name) FROM worker"), "dead host:1");
}
END_TEST

START_TEST(a_worker_whose_time_was_over_is_a_new_one) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    for (const char* fate : {"UPDATE worker SET alive_until = clock_timestamp() - interval '1 s'", "DELETE FROM worker"}) {
        WorkerKey before = worker.self;
        int registrations = worker.registrations;
        worker.database.execute(fate);
        loop.advance(beat);
        ck_assert_int_eq(worker.registrations, registrations + 1);
        ck_assert(worker.self != before);
        ck_assert(worker.knew_itself);
        ck_assert(!worker.store.alive(before));
        assert_text(worker.listened, "matrix_sync matrix_sync_w" + std::to_string(worker.self.value));
        assert_text(worker.database.value("SELECT string_agg(id::text, ' ') FROM worker"), std::to_string(worker.self.value));
    }
    ck_assert_int_eq(worker.disconnections, 0);
}
END_TEST

START_TEST(a_frozen_worker_does_not_believe_to_be_alive) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    loop.freeze(lease - Milliseconds{1});
    ck_assert(worker.store.alive(worker.self));
    loop.freeze(Milliseconds{1});
    ck_assert(!worker.store.alive(worker.self));
    loop.settle();
    ck_assert(worker.store.alive(worker.self));
}
END_TEST

START_TEST(a_new_connection_is_a_new_worker) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    WorkerKey before = worker.self;
    worker.database.disconnect(false);
    ck_assert(!worker.store.alive(before));
    loop.settle();
    ck_assert_int_eq(worker.disconnections, 1);
    loop.advance(Milliseconds{300'000});
    ck_assert_int_eq(worker.registrations, 1);

    worker.database.reachable_again();
    worker.start();
    ck_assert_int_eq(worker.registrations, 2);
    ck_assert(worker.self != before);
    assert_text(worker.database.value("SELECT string_agg(id::text, ' ') FROM worker"), std::to_string(worker.self.value));

    // Lost and there again before the loop has had a turn.
    before = worker.self;
    worker.database.disconnect();
    worker.database.connect();
    ck_assert(!worker.store.alive(before));
    loop.settle();
    ck_assert_int_eq(worker.disconnections, 2);
    ck_assert_int_eq(worker.registrations, 3);
}
END_TEST

START_TEST(another_workers_row_under_the_old_key_is_left_alone) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    WorkerKey before = worker.self;
    worker.database.execute("UPDATE worker SET name = 'host:2', alive_until = clock_timestamp() + interval '1 minute'");
    worker.database.disconnect();
    worker.start();
    assert_text(worker.database.value("SELECT name FROM worker WHERE id = " + std::to_string(before.value)), "host:2");
    ck_assert(worker.self != before);
}
END_TEST

START_TEST(workers_tell_each_other) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    Worker b(loop, conninfo, "host:2");
    a.start();
    b.start();
    a.store.tell(b.self, "device 1 has news");
    a.store.tell(b.self, "device 2 has news");
    a.store.tell(WorkerKey{}, "to all");
    ck_assert(!b.database.poll_notifications());
    loop.turn();
    b.hear(3);
    std::sort(b.heard.begin(), b.heard.end());
    ck_assert(b.heard == (std::vector<std::string>{"device 1 has news", "device 2 has news", "to all"}));
    a.hear(1);
    ck_assert(a.heard == std::vector<std::string>{"to all"});
}
END_TEST

START_TEST(many_messages_are_few_notifications_and_all_arrive) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    a.start();
    BlockingDatabase spy(conninfo);
    struct Count : Database::Listener {
        void connected() override {}
        void disconnected() override {}
        void notified(std::string_view, std::string_view payload) override {
            ++notifications;
            longest = std::max(longest, payload.size());
        }
        int notifications = 0;
        std::size_t longest = 0;
    } count;
    spy.listen(&count);
    spy.execute("LISTEN matrix_sync_w" + std::to_string(a.self.value));

    std::vector<std::string> sent;
    for (int i = 0; i < 1000; ++i) sent.push_back(std::string(196, 'x') + std::to_string(1000 + i));
    for (const auto& message : sent) a.store.tell(a.self, message);
    loop.turn();
    a.hear(sent.size());
    ck_assert(a.heard == sent);
    while (count.notifications < 26) ck_assert(spy.poll_notifications(soon));
    ck_assert(!spy.poll_notifications());
    ck_assert_int_eq(count.notifications, 26);  // 39 messages of 200 bytes with their commas are 7,838
    ck_assert_uint_lt(count.longest, 7'900);
}
END_TEST

START_TEST(what_is_no_message_is_refused) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    for (const std::string& text : {std::string("a,b"), std::string(201, 'x')}) {
        bool refused = false;
        try {
            worker.store.tell(WorkerKey{}, text);
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        ck_assert(refused);
    }
    worker.store.tell(WorkerKey{}, std::string(200, 'x'));
    loop.turn();
    worker.hear(1);
}
END_TEST

START_TEST(an_old_key_hears_nothing) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    Worker b(loop, conninfo, "host:2");
    a.start();
    b.start();
    WorkerKey before = b.self;
    b.database.execute("DELETE FROM worker WHERE " + row_of(b));
    loop.advance(beat);
    ck_assert(b.self != before);
    a.store.tell(before, "for the old one");
    a.store.tell(b.self, "for the new one");
    loop.turn();
    b.hear_all();
    ck_assert(b.heard == std::vector<std::string>{"for the new one"});
}
END_TEST

START_TEST(who_leaves_is_gone_at_once) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    Worker b(loop, conninfo, "host:2");
    a.start();
    b.start();
    b.store.tell(a.self, "farewell");
    complete(b.store.leave());
    a.hear(1);
    assert_text(a.heard[0], "farewell");
    ck_assert(!b.store.alive(b.self));
    ck_assert(!b.store.alive(a.self));
    assert_text(a.database.value("SELECT string_agg(name, ' ') FROM worker"), "host:1");

    loop.advance(Milliseconds{100'000});
    b.database.disconnect();
    b.start();
    loop.advance(Milliseconds{100'000});
    ck_assert_int_eq(b.registrations, 1);
    b.store.tell(a.self, "from beyond");
    loop.settle();
    a.hear_all();
    ck_assert_uint_eq(a.heard.size(), 1);
}
END_TEST

START_TEST(leaving_without_a_database_is_no_error) {
    FakeLoop loop;
    Worker worker(loop, postgres().fresh_database(), "host:1");
    worker.start();
    worker.database.disconnect(false);
    complete(worker.store.leave());
    ck_assert(!worker.store.alive(worker.self));
}
END_TEST

START_TEST(a_refused_schema_is_said_once_and_tried_again) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    BlockingDatabase admin(conninfo);
    complete(migrate(admin));
    admin.execute("INSERT INTO schema_version (number) VALUES (50)");
    Worker worker(loop, conninfo, "host:1");
    worker.start();
    ck_assert_int_eq(worker.registrations, 0);
    ck_assert_uint_eq(worker.log.size(), 1);
    ck_assert_msg(worker.log[0].find("schema version 50") != std::string::npos, "%s", worker.log[0].c_str());
    ck_assert(worker.log[0].starts_with("0 "));  // LogLevel::error

    loop.advance(Milliseconds{400'000});
    ck_assert_uint_eq(worker.log.size(), 1);
    admin.execute("UPDATE schema_version SET number = 51 WHERE number = 50");
    loop.advance(Milliseconds{60'000});
    ck_assert_uint_eq(worker.log.size(), 2);
    admin.execute("DELETE FROM schema_version WHERE number = 51");
    loop.advance(Milliseconds{60'000});
    ck_assert_int_eq(worker.registrations, 1);
    ck_assert_uint_eq(worker.log.size(), 3);
}
END_TEST

START_TEST(retries_back_off) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    BlockingDatabase admin(conninfo);
    complete(migrate(admin));
    admin.execute("INSERT INTO schema_version (number) VALUES (50)");
    Worker worker(loop, conninfo, "host:1");
    worker.start();
    for (int seconds : {5, 10, 20, 40, 60, 60}) {
        ck_assert(loop.due().has_value());
        ck_assert_int_eq((*loop.due() - loop.now()).count(), seconds * 1000);
        loop.advance(Milliseconds{seconds * 1000});
    }
}
END_TEST

START_TEST(moved_logs_are_found) {
    FakeLoop loop;
    std::string conninfo = postgres().fresh_database();
    Worker a(loop, conninfo, "host:1");
    Worker b(loop, conninfo, "host:2");
    a.start();
    b.start();
    std::string owner = std::to_string(b.self.value);
    a.database.execute("INSERT INTO device (user_id, device_id, owner, seq, since) VALUES ('@a:a', 'same', " + owner +
                       ", 5, 's'), ('@a:a', 'further', " + owner + ", 6, 's'), ('@a:a', 'let go', NULL, 5, NULL), ('@a:a', 'taken', " +
                       owner + ", 5, 's'), ('@a:a', 'dead', 77, 5, 's'), ('@a:a', 'free', NULL, 5, NULL), ('@a:a', 'ahead', " + owner +
                       ", 4, 's')");
    auto known = [](std::int64_t key, WorkerKey of) {
        DeviceRow row;
        row.key = DeviceKey{key};
        row.end = Position{5};
        row.owner = of;
        return row;
    };
    std::vector<DeviceRow> all{known(1, b.self),        known(2, b.self), known(3, b.self), known(4, a.self),
                               known(5, WorkerKey{77}), known(6, {}),     known(7, b.self), known(99, b.self)};
    auto moved = complete(a.store.moved(all));
    std::sort(moved.begin(), moved.end(), [](const DeviceRow& x, const DeviceRow& y) { return x.key < y.key; });
    std::string names;
    for (const auto& row : moved) names += row.device.value + "; ";
    assert_text(names, "further; let go; taken; dead; ");
    assert_text(moved[0].user.value, "@a:a");
    ck_assert_int_eq(moved[0].end.value, 6);
    ck_assert(moved[0].owner == b.self);
    ck_assert(moved[0].whole);
    ck_assert(!moved[1].owner);
    ck_assert(!moved[1].whole);
    ck_assert(complete(a.store.moved({})).empty());
}
END_TEST

MATRIX_SYNC_SUITE("workers", a_worker_migrates_listens_and_registers, its_row_is_kept_alive, workers_know_who_is_alive,
                  the_dead_are_buried_after_an_hour, a_worker_whose_time_was_over_is_a_new_one,
                  a_frozen_worker_does_not_believe_to_be_alive, a_new_connection_is_a_new_worker,
                  another_workers_row_under_the_old_key_is_left_alone, workers_tell_each_other,
                  many_messages_are_few_notifications_and_all_arrive, what_is_no_message_is_refused, an_old_key_hears_nothing,
                  who_leaves_is_gone_at_once, leaving_without_a_database_is_no_error, a_refused_schema_is_said_once_and_tried_again,
                  retries_back_off, moved_logs_are_found)
