// Migrations are the files migrations/NNNN.sql, included here as strings so that every build has them without a generator. Each is carried
// out as one statement and is never changed once released.
#include "storage/schema.hpp"

#include <array>
#include <string>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr std::int32_t oldest_server = 130000;
constexpr std::string_view insufficient_privilege = "42501";
/// "matrix_s", so that no other program's advisory lock is met.
constexpr std::int64_t migration_lock = 0x6d61747269785f73;

const Statement get_facts{"schema_facts", R"sql(
    SELECT current_setting('server_version_num')::integer,
           current_setting('server_encoding'),
           split_part(current_setting('search_path'), ',', 1),
           to_regclass('matrix_sync.schema_version') IS NOT NULL,
           current_database()::text
)sql"};

const Statement get_version{"schema_get_version", R"sql(
    SELECT coalesce(max(number), 0) FROM matrix_sync.schema_version
)sql"};

const Statement lock_schema{"schema_lock", R"sql(
    SELECT pg_advisory_xact_lock($1::bigint)
)sql"};

// Not IF NOT EXISTS: that wants the privilege to create the schema even when an administrator has done so.
const Statement create_schema{"schema_create", R"sql(
    DO $create$ BEGIN
        IF to_regnamespace('matrix_sync') IS NULL THEN
            CREATE SCHEMA matrix_sync;
        END IF;
        IF to_regclass('matrix_sync.schema_version') IS NULL THEN
            CREATE TABLE matrix_sync.schema_version (
                number integer PRIMARY KEY,
                applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
            );
        END IF;
    END $create$
)sql"};

const Statement set_version{"schema_set_version", R"sql(
    INSERT INTO matrix_sync.schema_version (number) VALUES ($1::integer)
)sql"};

// In order; the first has number 1.
const std::array migrations{
    Statement{"migration_1",
              "DO $migration$ BEGIN\n"
#include "storage/migrations/0001.sql"
              "END $migration$"},
    Statement{"migration_2",
              "DO $migration$ BEGIN\n"
#include "storage/migrations/0002.sql"
              "END $migration$"},
    Statement{"migration_3",
              "DO $migration$ BEGIN\n"
#include "storage/migrations/0003.sql"
              "END $migration$"},
    Statement{"migration_4",
              "DO $migration$ BEGIN\n"
#include "storage/migrations/0004.sql"
              "END $migration$"},
    Statement{"migration_5",
              "DO $migration$ BEGIN\n"
#include "storage/migrations/0005.sql"
              "END $migration$"},
};
constexpr auto newest = static_cast<std::int32_t>(migrations.size());

struct DatabaseFacts {
    std::int32_t server = 0;
    std::string encoding;
    std::string schema;
    bool has_version = false;
    std::string database;
};

Task<DatabaseFacts> read_facts(Database& database) {
    Rows rows = co_await database.run(get_facts, Params{});
    DatabaseFacts facts;
    facts.server = rows.integer(0, 0);
    facts.encoding = rows.text(0, 1);
    facts.schema = rows.text(0, 2);
    facts.has_version = rows.boolean(0, 3);
    facts.database = rows.text(0, 4);
    co_return facts;
}

void refuse_unfit(const DatabaseFacts& facts) {
    if (facts.server < oldest_server) {
        throw SchemaRefused("PostgreSQL is version " + std::to_string(facts.server / 10000) +
                            ", but 13 or newer is needed: upgrade it, or let matrix_sync_database name another server");
    }
    if (facts.encoding != "UTF8") {
        throw SchemaRefused("the encoding of database \"" + facts.database + "\" is " + facts.encoding +
                            ", but UTF8 is needed: create another one with \"createdb -E UTF8 -T template0 NAME\"");
    }
    if (facts.schema != "matrix_sync") {
        throw SchemaRefused("the connection to database \"" + facts.database +
                            "\" has lost its settings, as happens behind a connection pooler: let matrix_sync_database name PostgreSQL "
                            "itself");
    }
}

void refuse_newer(std::int32_t version, const DatabaseFacts& facts) {
    if (version <= newest) return;
    throw SchemaRefused("database \"" + facts.database + "\" has schema version " + std::to_string(version) +
                        ", but this module knows only " + std::to_string(newest) +
                        ": install the newer module here too, or let matrix_sync_database name another database");
}

Task<void> apply_missing(Database& database, DatabaseFacts facts) {
    auto transaction = co_await database.begin();
    co_await transaction->run(lock_schema, Params().bigint(migration_lock));
    co_await transaction->run(create_schema, Params{});

    Rows rows = co_await transaction->run(get_version, Params{});
    std::int32_t version = rows.integer(0, 0);
    refuse_newer(version, facts);
    for (; version < newest; ++version) {
        co_await transaction->run(migrations.at(static_cast<std::size_t>(version)), Params{});
        co_await transaction->run(set_version, Params().integer(version + 1));
    }
    co_await transaction->commit(true);
}

}  // namespace

Task<void> migrate(Database& database) {
    DatabaseFacts facts = co_await read_facts(database);
    refuse_unfit(facts);
    if (facts.has_version) {
        Rows rows = co_await database.run(get_version, Params{});
        std::int32_t version = rows.integer(0, 0);
        refuse_newer(version, facts);
        if (version == newest) co_return;
    }
    try {
        co_await apply_missing(database, facts);
    } catch (const StatementFailed& failure) {
        if (failure.sqlstate != insufficient_privilege) throw;
        throw SchemaRefused("the schema matrix_sync cannot be created in database \"" + facts.database + "\" (" + failure.what() +
                            "): \"GRANT CREATE ON DATABASE\" to the user of matrix_sync_database, or make that user its owner");
    }
}

}  // namespace matrix_sync
