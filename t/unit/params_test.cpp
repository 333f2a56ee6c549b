// Binary formats, against a real PostgreSQL: what goes in comes out, and PostgreSQL sees the same value.
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "assert_text.hpp"
#include "blocking_database.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

BlockingDatabase& database() {
    static BlockingDatabase connection(postgres().conninfo("postgres"));
    return connection;
}

Task<Rows> ask(const Statement& statement, Params params) {
    co_return co_await database().run(statement, std::move(params));
}

Rows rows(const Statement& statement, Params params) {
    return complete(ask(statement, std::move(params)));
}

/// How PostgreSQL writes the value down.
std::string as_text(const Statement& statement, Params params) {
    return rows(statement, std::move(params)).maybe_text(0, 0).value_or("NULL");
}

template <class Exception, class Work>
bool throws(Work work) {
    try {
        work();
    } catch (const Exception&) {
        return true;
    }
    return false;
}

const Statement int2_text{"t_int2", "SELECT ($1::smallint)::text"};
const Statement int4_text{"t_int4", "SELECT ($1::integer)::text"};
const Statement int8_text{"t_int8", "SELECT ($1::bigint)::text"};
const Statement real_text{"t_real", "SELECT ($1::double precision)::text"};
const Statement bool_text{"t_bool", "SELECT ($1::boolean)::text"};
const Statement text_text{"t_text", "SELECT $1::text"};
const Statement bytea_text{"t_bytea", "SELECT encode($1::bytea, 'hex')"};
const Statement uuid_text{"t_uuid", "SELECT ($1::uuid)::text"};
const Statement bools_text{"t_bools", "SELECT ($1::boolean[])::text"};
const Statement int2s_text{"t_int2s", "SELECT ($1::smallint[])::text"};
const Statement int4s_text{"t_int4s", "SELECT ($1::integer[])::text"};
const Statement int8s_text{"t_int8s", "SELECT ($1::bigint[])::text"};
const Statement texts_text{"t_texts", "SELECT ($1::text[])::text"};
const Statement byteas_text{"t_byteas", "SELECT ($1::bytea[])::text"};

const Statement echo{"t_echo",
                     "SELECT $1::boolean, $2::smallint, $3::integer, $4::bigint, $5::text, $6::bytea, $7::uuid, $8::bigint[], $9::text[], "
                     "$10::bytea[], NULL::text"};
const Statement update{"t_update", "UPDATE t SET x = 1 WHERE x >= $1::integer"};
const Statement two_dimensions{"t_two_dimensions", "SELECT '{{1,2},{3,4}}'::bigint[], '{1,NULL}'::bigint[], '{1}'::integer[]"};

}  // namespace

START_TEST(postgresql_reads_scalars) {
    assert_text(as_text(int2_text, Params().smallint(-12345)), "-12345");
    assert_text(as_text(int4_text, Params().integer(std::numeric_limits<std::int32_t>::min())), "-2147483648");
    assert_text(as_text(int8_text, Params().bigint(std::numeric_limits<std::int64_t>::max())), "9223372036854775807");
    assert_text(as_text(real_text, Params().real(-0.125)), "-0.125");
    assert_text(as_text(bool_text, Params().boolean(true)), "true");
    assert_text(as_text(bool_text, Params().boolean(false)), "false");
    assert_text(as_text(text_text, Params().text("Grüße")), "Grüße");
    assert_text(as_text(text_text, Params().text("")), "");
    assert_text(as_text(text_text, Params().text(std::optional<std::string>{})), "NULL");
    assert_text(as_text(text_text, Params().text(std::optional<std::string>{"x"})), "x");
    assert_text(as_text(bytea_text, Params().bytes(std::string_view("\0\xff", 2))), "00ff");
    assert_text(as_text(bytea_text, Params().bytes(std::optional<std::string>{})), "NULL");
    assert_text(as_text(uuid_text, Params().uuid("0123abcd-EF01-4567-89ab-cdef01234567")), "0123abcd-ef01-4567-89ab-cdef01234567");
    assert_text(as_text(int4_text, Params().null()), "NULL");
}
END_TEST

START_TEST(postgresql_reads_arrays) {
    assert_text(as_text(bools_text, Params().booleans({true, false})), "{t,f}");
    assert_text(as_text(int2s_text, Params().smallints(std::vector<std::int16_t>{-1, 300})), "{-1,300}");
    assert_text(as_text(int4s_text, Params().integers(std::vector<std::int32_t>{-1, 70000})), "{-1,70000}");
    assert_text(as_text(int8s_text, Params().bigints(std::vector<std::int64_t>{-1, 1LL << 40})), "{-1,1099511627776}");
    assert_text(as_text(int8s_text, Params().bigints(std::vector<std::int64_t>{})), "{}");
    assert_text(as_text(texts_text, Params().texts(std::vector<std::string>{"a", "", "NULL"})), "{a,\"\",\"NULL\"}");
    assert_text(as_text(texts_text, Params().texts(std::vector<std::optional<std::string>>{"a", std::nullopt})), "{a,NULL}");
    assert_text(as_text(texts_text, Params().texts(std::vector<std::string>{})), "{}");
    assert_text(as_text(byteas_text, Params().bytess(std::vector<std::string>{std::string("\0\1", 2)})), "{\"\\\\x0001\"}");
    assert_text(as_text(byteas_text, Params().bytess(std::vector<std::optional<std::string>>{std::nullopt})), "{NULL}");
}
END_TEST

START_TEST(results_come_back) {
    std::vector<std::int64_t> numbers{1, -2, std::numeric_limits<std::int64_t>::min()};
    std::vector<std::optional<std::string>> texts{"a", std::nullopt, ""};
    std::string bytes("\0\xff", 2);
    Rows result = rows(echo, Params()
                                 .boolean(true)
                                 .smallint(-3)
                                 .integer(-70000)
                                 .bigint(-(1LL << 40))
                                 .text("Grüße")
                                 .bytes(bytes)
                                 .uuid("00112233-4455-6677-8899-aabbccddeeff")
                                 .bigints(numbers)
                                 .texts(texts)
                                 .bytess(std::vector<std::string>{bytes}));
    ck_assert_uint_eq(result.size(), 1);
    ck_assert(result.boolean(0, 0));
    ck_assert_int_eq(result.smallint(0, 1), -3);
    ck_assert_int_eq(result.integer(0, 2), -70000);
    ck_assert_int_eq(result.bigint(0, 3), -(1LL << 40));
    ck_assert(result.text(0, 4) == "Grüße");
    ck_assert(result.text(0, 5) == bytes);
    assert_text(result.uuid(0, 6), "00112233-4455-6677-8899-aabbccddeeff");
    ck_assert(result.bigints(0, 7) == numbers);
    ck_assert(result.texts(0, 8) == texts);
    ck_assert(result.texts(0, 9) == std::vector<std::optional<std::string>>{bytes});
    ck_assert(result.is_null(0, 10));
    ck_assert(!result.maybe_text(0, 10));
    ck_assert(result.maybe_text(0, 4) == "Grüße");
}
END_TEST

START_TEST(misuse_is_a_logic_error) {
    Rows result = rows(echo, Params().null().null().integer(1).bigint(1).null().bytes(std::string("1234")).null().null().null().null());
    ck_assert(throws<std::logic_error>([&] { result.boolean(0, 0); }));
    ck_assert(throws<std::logic_error>([&] { result.text(0, 4); }));
    ck_assert(throws<std::logic_error>([&] { result.bigint(0, 2); }));
    ck_assert(throws<std::logic_error>([&] { result.integer(0, 3); }));
    ck_assert(throws<std::logic_error>([&] { result.uuid(0, 5); }));
    ck_assert(throws<std::logic_error>([&] { result.bigints(0, 5); }));
    ck_assert(throws<std::logic_error>([&] { result.bigint(1, 3); }));
    ck_assert(throws<std::logic_error>([&] { result.bigint(0, 11); }));
    ck_assert(throws<std::logic_error>([&] { result.maybe_text(1, 4); }));
    ck_assert(throws<std::logic_error>([&] { Rows().bigint(0, 0); }));

    Rows arrays = rows(two_dimensions, Params());
    for (std::size_t column : {0, 1, 2}) ck_assert(throws<std::logic_error>([&] { arrays.bigints(0, column); }));
    ck_assert(throws<std::logic_error>([&] { arrays.texts(0, 2); }));

    for (const char* text : {"", "0123abcd-ef01-4567-89ab-cdef0123456", "0123abcd-ef01-4567-89ab-cdef0123456g",
                             "0123abcdeef01-4567-89ab-cdef01234567", "0123abcd-ef01-4567-89ab-cdef012345678"}) {
        ck_assert(throws<std::logic_error>([&] { Params().uuid(text); }));
    }
}
END_TEST

START_TEST(changed_rows_are_counted) {
    database().execute("CREATE TEMP TABLE t (x integer); INSERT INTO t VALUES (1), (2), (3); SET search_path = pg_temp");
    ck_assert_int_eq(rows(update, Params().integer(2)).affected(), 2);
    ck_assert_int_eq(rows(update, Params().integer(9)).affected(), 0);
}
END_TEST

MATRIX_SYNC_SUITE("params", postgresql_reads_scalars, postgresql_reads_arrays, results_come_back, misuse_is_a_logic_error,
                  changed_rows_are_counted)
