// Migrations on a real PostgreSQL: applied once, by whoever comes first, and refused with words an operator can act on.
#include "storage/schema.hpp"

#include <string>
#include <thread>
#include <vector>

#include "assert_text.hpp"
#include "blocking_database.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

std::string refusal(Database& database) {
    try {
        complete(migrate(database));
    } catch (const SchemaRefused& refused) {
        return refused.what();
    }
    return "";
}

bool says(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Answers as a PostgreSQL 12 would.
class OldServer : public Database {
  public:
    Query run(const Statement&, Params) override { return Query(std::make_shared<Answer>()); }
    Task<std::unique_ptr<Transaction>> begin() override { throw std::logic_error("nothing may be changed"); }
    void listen(Listener*) override {}

  private:
    struct Facts : Rows::Source {
        std::size_t rows() const override { return 1; }
        std::size_t columns() const override { return values.size(); }
        std::optional<std::string_view> cell(std::size_t, std::size_t column) const override { return values[column]; }
        std::int64_t affected() const override { return 0; }

        std::vector<std::string> values{Params().integer(120'022).values()[0].data, "UTF8", "matrix_sync", std::string(1, '\0'), "old"};
    };
    struct Answer : Query::State {
        bool ready() const override { return true; }
        void wait(std::coroutine_handle<>) override {}
        void forget() override {}
        Rows take() override { return Rows(std::make_unique<Facts>()); }
    };
};

/// The numbers from 1 on, each of them once.
void assert_all_once(BlockingDatabase& database) {
    assert_text(database.value("SELECT count(*) > 0 AND count(*) = max(number) AND min(number) = 1 FROM schema_version"), "t");
}

}  // namespace

START_TEST(an_empty_database_gets_all_migrations_once) {
    BlockingDatabase database(postgres().fresh_database());
    complete(migrate(database));
    assert_all_once(database);
    assert_text(database.value("SELECT count(*) FROM session"), "0");
    database.execute("UPDATE schema_version SET applied_at = '2020-01-01'");
    complete(migrate(database));
    assert_text(database.value("SELECT max(applied_at)::date FROM schema_version"), "2020-01-01");
}
END_TEST

START_TEST(an_up_to_date_schema_takes_no_lock) {
    BlockingDatabase database(postgres().fresh_database());
    complete(migrate(database));
    BlockingDatabase other(postgres().conninfo(database.value("SELECT current_database()")));
    other.execute("BEGIN; SELECT pg_advisory_xact_lock(7881708857619668851); LOCK schema_version IN ROW EXCLUSIVE MODE");
    assert_text(other.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "1");
    database.execute("SET lock_timeout = '100ms'");
    complete(migrate(database));
}
END_TEST

START_TEST(many_at_once_apply_once) {
    std::string conninfo = postgres().fresh_database();
    constexpr int workers = 8;
    std::vector<std::string> errors(workers);
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&conninfo, &error = errors[worker]] {
            try {
                BlockingDatabase database(conninfo);
                complete(migrate(database));
            } catch (const std::exception& thrown) {
                error = thrown.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) assert_text(error, "");
    BlockingDatabase database(conninfo);
    assert_all_once(database);
}
END_TEST

START_TEST(a_failed_migration_leaves_nothing) {
    BlockingDatabase database(postgres().fresh_database());
    // The migration meets a table of its own names.
    database.execute("CREATE SCHEMA matrix_sync; CREATE TABLE token (x integer)");
    try {
        complete(migrate(database));
        ck_abort_msg("a migration that cannot be applied was");
    } catch (const StatementFailed& failure) {
        assert_text(failure.sqlstate, "42P07");
    }
    assert_text(database.value("SELECT string_agg(relname, ',') FROM pg_class WHERE relnamespace = 'matrix_sync'::regnamespace"), "token");
    database.execute("DROP TABLE token");
    complete(migrate(database));
    assert_all_once(database);
}
END_TEST

START_TEST(a_newer_schema_is_refused) {
    BlockingDatabase database(postgres().fresh_database());
    complete(migrate(database));
    const std::string newest = database.value("SELECT max(number) FROM schema_version");
    database.execute("INSERT INTO schema_version (number) VALUES (1000)");
    std::string message = refusal(database);
    ck_assert_msg(
        says(message, "schema version 1000") && says(message, "knows only " + newest) && says(message, "install the newer module"), "%s",
        message.c_str());
}
END_TEST

START_TEST(another_encoding_is_refused) {
    BlockingDatabase ascii(postgres().fresh_database("ENCODING 'SQL_ASCII'"));
    std::string message = refusal(ascii);
    ck_assert_msg(says(message, "is SQL_ASCII") && says(message, "createdb -E UTF8"), "%s", message.c_str());
    assert_text(ascii.value("SELECT to_regnamespace('matrix_sync') IS NULL"), "t");

    BlockingDatabase latin(postgres().fresh_database("ENCODING 'LATIN1'"));
    ck_assert(says(refusal(latin), "is LATIN1"));
}
END_TEST

START_TEST(an_old_server_is_refused) {
    OldServer database;
    std::string message = refusal(database);
    ck_assert_msg(says(message, "version 12") && says(message, "13 or newer"), "%s", message.c_str());
}
END_TEST

START_TEST(lost_settings_are_refused) {
    BlockingDatabase database(postgres().fresh_database());
    database.execute("SET search_path = public");
    std::string message = refusal(database);
    ck_assert_msg(says(message, "pooler"), "%s", message.c_str());
}
END_TEST

START_TEST(missing_privileges_are_refused) {
    BlockingDatabase owner(postgres().fresh_database());
    owner.execute("CREATE ROLE guest LOGIN");
    std::string conninfo = postgres().conninfo(owner.value("SELECT current_database()")) + " user=guest";
    BlockingDatabase guest(conninfo);
    std::string message = refusal(guest);
    ck_assert_msg(says(message, "GRANT CREATE ON DATABASE"), "%s", message.c_str());

    // A schema that an administrator has made for the user is enough.
    owner.execute("CREATE SCHEMA matrix_sync AUTHORIZATION guest");
    complete(migrate(guest));
    assert_all_once(guest);
}
END_TEST

MATRIX_SYNC_SUITE("schema", an_empty_database_gets_all_migrations_once, an_up_to_date_schema_takes_no_lock, many_at_once_apply_once,
                  a_failed_migration_leaves_nothing, a_newer_schema_is_refused, another_encoding_is_refused, an_old_server_is_refused,
                  lost_settings_are_refused, missing_privileges_are_refused)
