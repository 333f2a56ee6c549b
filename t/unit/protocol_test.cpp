// Tokens, sticky parameters, the query string: everything of a request that needs neither a device nor a store.
#include "assert_text.hpp"
#include "core/json/value.hpp"
#include "core/sessions/filter.hpp"
#include "core/sessions/query.hpp"
#include "core/sessions/token.hpp"
#include "matrix_sync/error.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

const SessionId kSession("01234567-89ab-cdef-0123-456789abcdef");

std::string errcode_of(auto&& action) {
    try {
        action();
    } catch (const MatrixError& error) {
        return error.errcode + " " + error.what();
    }
    return "";
}

Filter filter_of(const char* body) {
    return Filter(parse_body(body));
}

Position cursor(const Resumed& resumed, StreamId id) {
    return resumed.cursors[static_cast<std::size_t>(id)].at;
}

}  // namespace

START_TEST(token_survives_its_text) {
    SyncToken token;
    token.session = kSession;
    token.filter = 12;
    token.log = Position{(std::int64_t{7} << 32) + 300};
    for (std::size_t i = 0; i < kStreams; ++i) token.cursors[i].at = Position{static_cast<std::int64_t>(i) * 100};
    token.cursors[1].within = 300;
    token.cursors[2].paged = true;
    token.cursors[3].within = 1;
    token.cursors[3].paged = true;
    auto again = SyncToken::decode(token.encode());
    ck_assert(again.has_value());
    ck_assert(*again == token);
}
END_TEST

START_TEST(token_cut_or_changed_is_none) {
    SyncToken token;
    token.session = kSession;
    token.filter = 1;
    token.log = Position{5};
    std::string text = token.encode();
    std::size_t whole_without_cursors = text.size() - 2 * kStreams;
    for (std::size_t length = 0; length < whole_without_cursors; ++length) ck_assert(!SyncToken::decode(text.substr(0, length)));
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = '%';
        ck_assert_msg(!SyncToken::decode(changed), "byte %zu", i);
    }
    ck_assert(!SyncToken::decode(text + "_0"));
    ck_assert(!SyncToken::decode(text + "_"));
    ck_assert(!SyncToken::decode(""));
}
END_TEST

START_TEST(token_cursor_is_never_beyond_its_log) {
    SyncToken token;
    token.session = kSession;
    token.filter = 1;
    token.log = Position{5};
    token.cursors[0].at = Position{6};
    ck_assert(!SyncToken::decode(token.encode()));
    token.cursors[0].at = Position{5};
    ck_assert(SyncToken::decode(token.encode()).has_value());
}
END_TEST

START_TEST(token_without_later_streams_starts_them) {
    SyncToken token;
    token.session = kSession;
    token.filter = 1;
    token.log = Position{5};
    token.cursors.fill(Cursor{Position{3}});
    std::string text = token.encode();
    auto shorter = SyncToken::decode(text.substr(0, text.rfind('_')));
    ck_assert(shorter.has_value());
    ck_assert_int_eq(shorter->cursors[kStreams - 1].at.value, 0);
    ck_assert_int_eq(shorter->cursors[0].at.value, 3);
}
END_TEST

START_TEST(merge_patch_of_the_body) {
    Filter filter = filter_of(R"({"typing":{"room_id":"!a:x"},"to_device":{"limit":7}})");
    assert_text(filter.merged(parse_body(R"({"typing":{"room_id":"!b:x"}})")).text(),
                R"({"to_device":{"limit":7},"typing":{"room_id":"!b:x"}})");
    assert_text(filter.merged(parse_body(R"({"to_device":{"limit":null}})")).text(), R"({"to_device":{},"typing":{"room_id":"!a:x"}})");
    assert_text(filter.merged(parse_body(R"({"typing":null,"e2ee":{}})")).text(), R"({"e2ee":{},"to_device":{"limit":7}})");
    assert_text(filter.merged(parse_body("")).text(), filter.text());
}
END_TEST

START_TEST(unknown_keys_are_dropped) {
    assert_text(filter_of(R"({"unknown":{"a":1},"account_data":{"b":{"c":2}}})").text(), R"({"account_data":{}})");
}
END_TEST

START_TEST(limits_are_negotiated) {
    assert_text(filter_of(R"({"to_device":{"limit":100000000000000000000000}})").text(), R"({"to_device":{"limit":1000}})");
}
END_TEST

START_TEST(bad_bodies_name_the_field) {
    struct Case {
        const char* body;
        const char* error;
    };
    const Case cases[] = {
        {R"({"typing":5})", "M_BAD_JSON typing: expected an object"},
        {R"({"typing":{}})", "M_BAD_JSON typing.room_id: missing"},
        {R"({"typing":{"room_id":5}})", "M_BAD_JSON typing.room_id: expected a string"},
        {R"({"to_device":{"limit":"5"}})", "M_BAD_JSON to_device.limit: expected an integer"},
        {R"({"to_device":{"limit":1.5}})", "M_BAD_JSON to_device.limit: expected an integer"},
        {R"({"to_device":{"limit":0}})", "M_BAD_JSON to_device.limit: expected at least 1"},
        {R"({"to_device":{"limit":-9223372036854775808}})", "M_BAD_JSON to_device.limit: expected at least 1"},
        {R"({"to_device":[]})", "M_BAD_JSON to_device: expected an object"},
        {R"({"e2ee":true})", "M_BAD_JSON e2ee: expected an object"},
        {R"({"account_data":""})", "M_BAD_JSON account_data: expected an object"},
        {"[]", "M_BAD_JSON the body: expected an object"},
        {"{", "M_NOT_JSON the body is not JSON"},
        {"{} {}", "M_NOT_JSON the body is not JSON"},
        {"{\"typing\":{\"room_id\":\"\xff\"}}", "M_NOT_JSON the body is not JSON"},
    };
    for (const Case& c : cases) assert_text(errcode_of([&] { filter_of(c.body); }), c.error);
}
END_TEST

START_TEST(depth_is_limited) {
    auto nested = [](int depth) {
        return "{\"x\":" + std::string(static_cast<std::size_t>(depth - 1), '[') + std::string(static_cast<std::size_t>(depth - 1), ']') +
               "}";
    };
    assert_text(errcode_of([&] { parse_body(nested(32)); }), "");
    assert_text(errcode_of([&] { parse_body(nested(33)); }), "M_BAD_JSON the body is nested deeper than 32");
    assert_text(errcode_of([&] { parse_body(std::string(1 << 20, '[')); }), "M_BAD_JSON the body is nested deeper than 32");
}
END_TEST

START_TEST(streams_go_on_or_start) {
    SyncToken token;
    token.log = Position{50};
    token.cursors.fill(Cursor{Position{40}});
    Filter before = filter_of(R"({"typing":{"room_id":"!a:x"},"to_device":{},"account_data":{}})");

    Resumed same = resume(before, before, token, {}, true);
    ck_assert_int_eq(cursor(same, StreamId::typing).value, 40);
    ck_assert(!same.fresh);

    Filter other_room = before.merged(parse_body(R"({"typing":{"room_id":"!b:x"}})"));
    Resumed moved = resume(before, other_room, token, {}, true);
    ck_assert_int_eq(cursor(moved, StreamId::typing).value, 0);
    ck_assert_int_eq(cursor(moved, StreamId::to_device).value, 40);
    ck_assert(moved.fresh);

    Filter more = before.merged(parse_body(R"({"e2ee":{},"to_device":{"limit":5},"account_data":null})"));
    Resumed added = resume(before, more, token, {}, true);
    ck_assert_int_eq(cursor(added, StreamId::e2ee).value, 0);
    ck_assert_int_eq(cursor(added, StreamId::to_device).value, 40);
    ck_assert_int_eq(cursor(added, StreamId::account_data).value, 0);

    Filter only_messages = filter_of(R"({"to_device":{}})");
    Filter nothing;
    ck_assert(!resume(nothing, only_messages, token, {}, true).fresh);
}
END_TEST

START_TEST(pages_are_of_one_request) {
    Json body = parse_body(
        R"({"room_list":{"p":{"since":"1","limit":5}},"room_members":{"room_id":"!a:x","p":{"since":null}},"typing":{"p":{"since":4}}})");
    PagesAsked pages = take_pages(body);
    assert_text(pages[static_cast<std::size_t>(StreamId::room_list)].value_or("none"), "1");
    ck_assert(!pages[static_cast<std::size_t>(StreamId::room_members)]);
    ck_assert(!body["room_list"]["p"].contains("since"));
    assert_text(errcode_of([] {
                    Json bad = parse_body(R"({"room_list":{"p":{"since":1}}})");
                    take_pages(bad);
                }),
                "M_BAD_JSON room_list.p.since: expected a string");
}
END_TEST

START_TEST(a_first_page_is_waited_for_by_those_who_have_it) {
    constexpr auto list = static_cast<std::size_t>(StreamId::room_list);
    SyncToken token;
    token.log = Position{50};
    token.cursors[list] = Cursor{Position{40}, 0, true};
    PagesAsked pages;
    pages[list] = kFirstPage;
    Filter before = filter_of(R"({"room_list":{}})");
    ck_assert(resume(before, before, token, pages, true).shows[list] == Show::changed_first_page);
    ck_assert(!resume(before, before, token, pages, true).fresh);
    ck_assert(resume(before, before, token, pages, false).shows[list] == Show::first_page);
    Filter other = before.merged(parse_body(R"({"room_list":{"p":{"limit":7}}})"));
    ck_assert(resume(before, other, token, pages, true).shows[list] == Show::first_page);
    ck_assert(resume(before, other, token, pages, true).fresh);
    token.cursors[list].paged = false;
    ck_assert(resume(before, before, token, pages, true).shows[list] == Show::first_page);
}
END_TEST

START_TEST(what_is_acknowledged) {
    Cursors cursors{};
    cursors[static_cast<std::size_t>(StreamId::to_device)].at = Position{9};
    Acknowledged acknowledged = filter_of(R"({"to_device":{}})").acknowledged(cursors);
    ck_assert(acknowledged.to_device == Position{9});
    ck_assert(!acknowledged.e2ee);
}
END_TEST

START_TEST(query_string) {
    RequestQuery query = parse_query("a=b&since=v1%5Fab&timeout=30000&access_token=x");
    assert_text(query.since, "v1_ab");
    ck_assert_int_eq(query.timeout.count(), 30000);
    ck_assert(parse_query("").since.empty());
    ck_assert_int_eq(parse_query("since=").timeout.count(), 0);
    ck_assert_int_eq(parse_query("timeout=99999999999999999999").timeout.count(), 2147483647);
    for (const char* bad : {"timeout=-1", "timeout=", "timeout", "timeout=1.5", "timeout=1e3", "timeout=%20", "timeout=0x10"}) {
        assert_text(errcode_of([&] { parse_query(bad); }), "M_INVALID_PARAM timeout: expected a non-negative integer");
    }
}
END_TEST

MATRIX_SYNC_SUITE("protocol", token_survives_its_text, token_cut_or_changed_is_none, token_cursor_is_never_beyond_its_log,
                  token_without_later_streams_starts_them, merge_patch_of_the_body, unknown_keys_are_dropped, limits_are_negotiated,
                  bad_bodies_name_the_field, depth_is_limited, streams_go_on_or_start, pages_are_of_one_request,
                  a_first_page_is_waited_for_by_those_who_have_it, what_is_acknowledged, query_string)
