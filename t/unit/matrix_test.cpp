// Pure rules of the client-server specification: names, power levels, the order of a space, and what events say.
#include <algorithm>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "assert_text.hpp"
#include "core/json/text.hpp"
#include "core/matrix/casefold.hpp"
#include "core/matrix/content.hpp"
#include "core/matrix/power_levels.hpp"
#include "core/matrix/room_name.hpp"
#include "core/matrix/space_order.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

using Hero = NameParts::Hero;

Hero joined(const std::string& id, std::optional<std::string> displayname = std::nullopt) {
    return {id, std::move(displayname), "join"};
}

Hero left(const std::string& id, std::optional<std::string> displayname = std::nullopt) {
    return {id, std::move(displayname), "leave"};
}

std::string name_of(std::vector<Hero> heroes, std::int64_t joined_count, std::int64_t invited_count = 0) {
    NameParts parts;
    parts.heroes = std::move(heroes);
    parts.joined = joined_count;
    parts.invited = invited_count;
    return room_name(parts);
}

std::string with_content(const std::string& content) {
    return R"({"type":"t","content":)" + content + "}";
}

std::string text_or(const std::optional<std::string>& text) {
    return text.value_or("(none)");
}

template <class Ids>
std::string listed(const Ids& ids) {
    std::string all;
    for (const auto& id : ids) {
        if constexpr (requires { id.value; }) {
            all += id.value + " ";
        } else {
            all += id + " ";
        }
    }
    return all;
}

PowerLevels levels(const std::string& content, const std::string& version = "11") {
    return {with_content(content), R"({"sender":"@creator:x","content":{"creator":"@old:x","additional_creators":["@second:x",7]}})",
            version};
}

std::int64_t level_of(const std::string& json) {
    return levels(R"({"users":{"@u:x":)" + json + R"(},"users_default":-7})").of("@u:x");
}

std::optional<SpaceChild> child(const std::string& room, const std::string& content, const std::string& ts = "1") {
    return read_space_child(R"({"type":"m.space.child","origin_server_ts":)" + ts + R"(,"content":)" + content + "}", room);
}

std::string order_of(const std::string& json) {
    auto read = child("!r", R"({"via":["x"],"order":)" + json + "}");
    ck_assert(read);
    return text_or(read->order);
}

// All the readers, for texts that must only do no harm.
void read_all(const std::string& event) {
    content_string(event, "name");
    read_member(event);
    read_create(event);
    read_canonical_alias(event);
    read_tags(event);
    read_marked_unread(event);
    read_direct_rooms(event);
    read_ignored_users(event);
    read_summary(event);
    read_space_child(event, "!r");
    PowerLevels(event, event, "12");
}

}  // namespace

START_TEST(test_casefold) {
    assert_text(casefold(""), "");
    assert_text(casefold("Alice Z[@"), "alice z[@");
    assert_text(casefold("STRASSE"), casefold("Stra\u00DFe"));
    assert_text(casefold("\u00C4rger"), "\u00E4rger");
    assert_text(casefold("A\u0308rger"), "\u00E4rger");                 // decomposed
    assert_text(casefold("\uFF21\uFF22 \uFB01"), "ab fi");              // fullwidth, ligature
    assert_text(casefold("\u03A3\u03C2\u03C3"), "\u03C3\u03C3\u03C3");  // sigmas
    assert_text(casefold("a\u200Db\u00AD"), "ab");                      // ignorable
    assert_text(casefold("\U00010400"), "\U00010428");
}
END_TEST

START_TEST(test_casefold_of_what_is_no_text) {
    assert_text(casefold("A\xFF"), "a\uFFFD");
    assert_text(casefold(std::string("A\0B", 3)), "a\uFFFDb");
    assert_text(casefold("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}
END_TEST

START_TEST(test_casefold_is_cut_between_characters) {
    assert_text(casefold(std::string(5000, 'A')), std::string(1000, 'a'));
    for (std::size_t before = 995; before <= 1000; ++before) {
        std::string folded = casefold(std::string(before, 'A') + "\U0001F600\U0001F600");
        ck_assert(is_utf8(folded));
        ck_assert_uint_eq(folded.size(), before <= 996 ? before + 4 : before);
    }
    std::string expanding;
    for (int i = 0; i < 5000; ++i) expanding += "\uFDFA";
    std::string folded = casefold(expanding);
    ck_assert(is_utf8(folded));
    ck_assert(folded.size() <= casefold_limit && folded.size() > casefold_limit - 4);
    std::string marks = "a";
    for (int i = 0; i < 20000; ++i) marks += i % 2 ? "\u0301" : "\u0327";
    ck_assert(casefold(marks).size() <= casefold_limit);
}
END_TEST

START_TEST(test_casefolded_names_compare_by_code_point) {
    ck_assert(casefold("z") < casefold("\u00C4"));
    ck_assert(casefold("\uFFFD") < casefold("\U0001F600"));  // not so in UTF-16
}
END_TEST

START_TEST(test_sort_names) {
    assert_text(member_sort_name("Alice", "@bob:x"), "alice");
    assert_text(member_sort_name(std::nullopt, "@Bob:x"), "bob:x");
    assert_text(member_sort_name("", "@bob:x"), "bob:x");
    assert_text(member_sort_name(std::nullopt, ""), "");
}
END_TEST

START_TEST(test_rooms_with_a_name) {
    NameParts parts;
    parts.heroes = {joined("@a:x", "Alice")};
    parts.joined = 2;
    parts.canonical_alias = "#room:x";
    parts.name = "The room";
    assert_text(room_name(parts), "The room");
    parts.name = "";
    assert_text(room_name(parts), "#room:x");
    parts.canonical_alias = "";
    assert_text(room_name(parts), "Alice");
}
END_TEST

START_TEST(test_rooms_named_by_members) {
    const Hero alice = joined("@a:x", "Alice"), bob = joined("@b:x", "Bob"), carol = joined("@c:x", "Carol");
    assert_text(name_of({alice}, 2), "Alice");
    assert_text(name_of({alice, bob}, 3), "Alice and Bob");
    assert_text(name_of({alice, bob}, 1, 2), "Alice and Bob");
    assert_text(name_of({alice, bob, carol}, 4), "Alice, Bob and Carol");
    assert_text(name_of({alice, bob}, 6), "Alice, Bob and 3 others");
    assert_text(name_of({alice, bob}, 4), "Alice, Bob and 1 other");
    assert_text(name_of({alice, bob}, 1235, 2), "Alice, Bob and 1234 others");
    assert_text(name_of({alice}, 3), "Alice and 1 other");
    assert_text(name_of({}, 4), "3 others");
}
END_TEST

START_TEST(test_five_heroes_are_named) {
    std::vector<Hero> heroes;
    for (char id = 'a'; id <= 'g'; ++id) heroes.push_back(joined(std::string("@") + id + ":x", std::string(1, id)));
    assert_text(name_of(heroes, 8), "a, b, c, d, e and 2 others");
    heroes.resize(5);
    assert_text(name_of(heroes, 6), "a, b, c, d and e");
}
END_TEST

START_TEST(test_names_of_heroes) {
    assert_text(name_of({joined("@a:x")}, 2), "@a:x");
    assert_text(name_of({joined("@a:x", "")}, 2), "@a:x");
    assert_text(name_of({joined("@a:x", "Alice"), joined("@b:x", "Bob"), joined("@charlie:x", "Alice")}, 4),
                "Alice (@a:x), Bob and Alice (@charlie:x)");
    assert_text(name_of({joined("@a:x"), joined("@b:x", "@a:x")}, 3), "@a:x and @a:x (@b:x)");
    assert_text(name_of({joined("@a:x", "Alice"), joined("@b:x", "alice")}, 3), "Alice and alice");
}
END_TEST

START_TEST(test_empty_rooms) {
    assert_text(name_of({}, 1), "Empty Room");
    assert_text(name_of({}, 0), "Empty Room");
    assert_text(name_of({left("@a:x", "Alice")}, 1), "Empty Room (was Alice)");
    assert_text(name_of({{"@a:x", "Alice", ""}}, 1), "Empty Room (was Alice)");
    assert_text(name_of({left("@a:x", "Alice"), {"@b:x", "Bob", "ban"}}, 1), "Empty Room (was Alice and Bob)");
    std::vector<Hero> many(7, left("@a:x"));
    assert_text(name_of(many, 1), "Empty Room (was @a:x, @a:x, @a:x, @a:x, @a:x and 2 others)");
}
END_TEST

START_TEST(test_heroes_and_counts_that_disagree) {
    assert_text(name_of({joined("@a:x", "Alice"), left("@b:x", "Bob")}, 2), "Alice");
    assert_text(name_of({joined("@a:x", "Alice"), left("@b:x", "Bob")}, 3), "Alice and 1 other");
    assert_text(name_of({joined("@a:x", "Alice"), joined("@b:x", "Bob")}, 2), "Alice and Bob");
    assert_text(name_of({joined("@a:x", "Alice")}, 1), "Alice");
    assert_text(name_of({{"@a:x", "Alice", ""}}, 2), "Alice");
    assert_text(name_of({left("@a:x", "Alice")}, 3), "2 others");
}
END_TEST

START_TEST(test_invites_have_no_counts) {
    assert_text(name_of({joined("@a:x", "Alice")}, 0), "Alice");
    assert_text(name_of({joined("@a:x", "Alice"), {"@b:x", "Bob", "invite"}}, 0), "Alice and Bob");
    assert_text(name_of({left("@a:x", "Alice")}, 0), "Empty Room (was Alice)");
}
END_TEST

START_TEST(test_default_power_levels) {
    PowerLevels none(std::nullopt, R"({"sender":"@creator:x","content":{"creator":"@old:x"}})", "11");
    ck_assert_int_eq(none.of("@creator:x"), 100);
    ck_assert_int_eq(none.of("@old:x"), 0);
    ck_assert_int_eq(none.default_level(), 0);
    ck_assert_uint_eq(none.named().size(), 1);
    PowerLevels old(std::nullopt, R"({"sender":"@creator:x","content":{"creator":"@old:x"}})", "10");
    ck_assert_int_eq(old.of("@old:x"), 100);
    ck_assert_int_eq(old.of("@creator:x"), 0);
    ck_assert_int_eq(PowerLevels(std::nullopt, R"({"sender":"@creator:x"})", "1").of("@creator:x"), 100);
    ck_assert(PowerLevels(std::nullopt, std::nullopt, "12").named().empty());
    ck_assert(PowerLevels(std::nullopt, R"({"content":{}})", "11").named().empty());
}
END_TEST

START_TEST(test_power_levels) {
    PowerLevels some = levels(R"({"users":{"@a:x":100,"@b:x":-5,"@c:x":0},"users_default":10})");
    ck_assert_int_eq(some.of("@a:x"), 100);
    ck_assert_int_eq(some.of("@b:x"), -5);
    ck_assert_int_eq(some.of("@c:x"), 0);
    ck_assert_int_eq(some.of("@d:x"), 10);
    ck_assert_int_eq(some.of("@creator:x"), 10);
    ck_assert_int_eq(some.default_level(), 10);
    ck_assert_uint_eq(some.named().size(), 3);
    ck_assert_int_eq(levels("{}").of("@creator:x"), 0);
    ck_assert_int_eq(levels("[]").of("@a:x"), 0);
}
END_TEST

START_TEST(test_creators_above_all) {
    const std::string content = R"({"users":{"@a:x":100,"@creator:x":1},"users_default":0})";
    for (const char* version : {"12", "13", "100000000000000000000", "org.matrix.hydra.11"}) {
        PowerLevels some = levels(content, version);
        ck_assert_int_eq(some.of("@creator:x"), creator_power);
        ck_assert_int_eq(some.of("@second:x"), creator_power);
        ck_assert_int_eq(some.of("@a:x"), 100);
        ck_assert_int_eq(some.of("@old:x"), 0);
        ck_assert_uint_eq(some.named().size(), 3);
        ck_assert(creator_power > levels(R"({"users":{"@a:x":99999999999999999999}})", version).of("@a:x"));
        ck_assert_int_eq(PowerLevels(std::nullopt, R"({"sender":"@creator:x"})", version).of("@creator:x"), creator_power);
    }
    for (const char* version : {"1", "11", "", "org.matrix.msc1234", "12x", "-12"}) {
        PowerLevels some = levels(content, version);
        ck_assert_int_eq(some.of("@creator:x"), 1);
        ck_assert_int_eq(some.of("@second:x"), 0);
    }
}
END_TEST

START_TEST(test_forms_of_a_level) {
    for (const char* json : {"50", "\"50\"", "\" 0050 \"", "\"+50\"", "50.57", "5.057e1", "\"\\t50\\n\""}) {
        ck_assert_msg(level_of(json) == 50, "%s is %ld", json, static_cast<long>(level_of(json)));
    }
    for (const char* json : {"-50", "\"-50\"", "\" -0050\"", "-50.57"}) ck_assert_int_eq(level_of(json), -50);
    for (const char* json : {"null", "true", "[50]", "{}", "\"\"", "\"fifty\"", "\"5 0\"", "\"50.5\"", "\"+-50\"", "\"--5\"", "\"-\"",
                             "1e999", "nan", "inf", "-inf", "0x10"}) {
        ck_assert_msg(level_of(json) == -7, "%s is %ld", json, static_cast<long>(level_of(json)));
    }
    const std::string digits(400, '9');
    for (const std::string& json : {digits, "\"" + digits + "\"", std::string("1e300"), std::string("9007199254740992")}) {
        ck_assert_int_eq(level_of(json), largest_json_integer);
        std::string negative = json[0] == '"' ? "\"-" + json.substr(1) : "-" + json;
        ck_assert_int_eq(level_of(negative), -largest_json_integer);
    }
}
END_TEST

START_TEST(test_order_of_a_space_as_specified) {
    std::vector<SpaceChild> children;
    auto add = [&](const std::string& room, const std::string& order, const std::string& ts) {
        children.push_back(*child(room, R"({"via":["example.org"])" + order + "}", ts));
    };
    add("!d:example.org", "", "1640741000000");
    add("!e:example.org", "", "1640641000000");
    add("!c:example.org", R"(,"order":"first")", "1640841000000");
    add("!a:example.org", R"(,"order":"aaaa")", "1640141000000");
    add("!b:example.org", R"(,"order":" ")", "1640341000000");
    std::sort(children.begin(), children.end(), before);
    std::string order;
    for (const auto& each : children) order += each.room.value.substr(1, 1);
    assert_text(order, "baced");
}
END_TEST

START_TEST(test_ties_in_a_space) {
    auto ordered = [](const std::string& room, const char* order, std::int64_t ts) {
        return SpaceChild{RoomId(room), order ? std::optional<std::string>(order) : std::nullopt, ts};
    };
    ck_assert(before(ordered("!z", "a", 1), ordered("!a", "a", 2)));
    ck_assert(before(ordered("!a", "a", 1), ordered("!z", "a", 1)));
    ck_assert(before(ordered("!a", nullptr, 1), ordered("!z", nullptr, 1)));
    ck_assert(before(ordered("!z", "~", 9), ordered("!a", nullptr, 1)));
    ck_assert(before(ordered("!z", "Z", 9), ordered("!a", "a", 1)));
    ck_assert(!before(ordered("!a", "a", 1), ordered("!a", "a", 1)));
    ck_assert(!before(ordered("!a", nullptr, 1), ordered("!a", nullptr, 1)));
    ck_assert(before(ordered("!\xC3\xA4", nullptr, 1), ordered("!\xF0\x9F\x98\x80", nullptr, 1)));
    ck_assert(before(ordered("!z", nullptr, 1), ordered("!\xC3\xA4", nullptr, 1)));
}
END_TEST

START_TEST(test_children_of_a_space) {
    for (const char* content : {R"({"via":[]})", "{}", R"({"via":null})", R"({"via":"x"})", R"({"via":["x",1]})", R"({"via":[null]})",
                                R"({"via":{"x":1}})", "[]", "null", R"({"via":["x"],"via":[]})"}) {
        ck_assert_msg(!child("!r", content), "%s", content);
    }
    auto read = child("!r:x", R"({"via":["x","y"],"order":"a"})", "12");
    ck_assert(read);
    assert_text(read->room.value, "!r:x");
    ck_assert_int_eq(read->origin_server_ts, 12);
    ck_assert_int_eq(child("!r", R"({"via":["x"]})", "\"12\"")->origin_server_ts, 0);
    assert_text(order_of("\"" + std::string(50, '~') + "\""), std::string(50, '~'));
    for (const std::string& json :
         {"\"" + std::string(51, 'a') + "\"", std::string("\"\""), std::string("1"), std::string("null"), std::string("\"a\\u0000\""),
          std::string("\"\\n\""), std::string("\"\x7F\""), std::string("\"\u00E4\"")}) {
        assert_text(order_of(json), "(none)");
    }
}
END_TEST

START_TEST(test_members) {
    MemberContent member =
        read_member(with_content(R"({"membership":"invite","displayname":"A\u0000lice","avatar_url":"mxc://x/y","is_direct":true})"));
    assert_text(member.membership, "invite");
    assert_text(text_or(member.displayname), "A\uFFFDlice");
    assert_text(text_or(member.avatar_url), "mxc://x/y");
    ck_assert(member.is_direct);
    member = read_member(with_content(R"({"membership":["join"],"displayname":null,"avatar_url":{},"is_direct":"true"})"));
    assert_text(member.membership, "");
    ck_assert(!member.displayname && !member.avatar_url && !member.is_direct);
}
END_TEST

START_TEST(test_the_last_of_equal_names_counts) {
    assert_text(text_or(content_string(with_content(R"({"name":"a","n\u0061me":"b"})"), "name")), "b");
    assert_text(text_or(content_string(with_content(R"({"name":"a","name":1})"), "name")), "(none)");
    assert_text(text_or(content_string(R"({"content":{"name":"a"},"content":{}})", "name")), "(none)");
    assert_text(listed(read_tags(with_content(R"({"tags":{"a":{},"b":{},"a":1}})"))), "b ");
    assert_text(listed(read_direct_rooms(with_content(R"({"@a:x":["!1"],"@b:x":["!2"],"@a:x":["!3"]})"))), "!2 !3 ");
    ck_assert_int_eq(levels(R"({"users":{"@a:x":1,"@a:x":"x"}})").of("@a:x"), 0);
}
END_TEST

START_TEST(test_create) {
    CreateContent create = read_create(
        R"({"sender":"@a:x","content":{"creator":"@b:x","type":"m.space","room_version":"12","additional_creators":["@c:x",1,"@d:x"]}})");
    assert_text(create.sender, "@a:x");
    assert_text(text_or(create.creator), "@b:x");
    assert_text(text_or(create.type), "m.space");
    assert_text(create.room_version, "12");
    assert_text(listed(create.additional_creators), "@c:x @d:x ");
    create = read_create(R"({"sender":1,"content":{"type":2,"room_version":12,"additional_creators":"@c:x"}})");
    assert_text(create.sender, "");
    assert_text(create.room_version, "1");
    ck_assert(!create.creator && !create.type && create.additional_creators.empty());
}
END_TEST

START_TEST(test_aliases) {
    assert_text(text_or(read_canonical_alias(with_content(R"({"alias":"#a:x"})"))), "#a:x");
    for (const char* alias : {"\"\"", "\"a:x\"", "\"#a\"", "null", "[\"#a:x\"]"}) {
        assert_text(text_or(read_canonical_alias(with_content(std::string(R"({"alias":)") + alias + "}"))), "(none)");
    }
}
END_TEST

START_TEST(test_account_data) {
    assert_text(listed(read_tags(with_content(R"({"tags":{"m.favourite":{"order":1},"u.x":{},"no":null}})"))), "m.favourite u.x ");
    ck_assert(read_tags(with_content(R"({"tags":["a"]})")).empty());
    ck_assert(read_marked_unread(with_content(R"({"unread":true})")));
    ck_assert(!read_marked_unread(with_content(R"({"unread":"true"})")));
    assert_text(listed(read_direct_rooms(with_content(R"({"@a:x":["!b","!a",3],"@b:x":"!no","@c:x":["!a","!c"]})"))), "!a !b !c ");
    assert_text(listed(read_ignored_users(with_content(R"({"ignored_users":{"@a:x":{},"@b:x":null}})"))), "@a:x @b:x ");
    ck_assert(read_ignored_users(with_content(R"({"ignored_users":["@a:x"]})")).empty());
}
END_TEST

START_TEST(test_summaries) {
    SummaryContent summary = read_summary(R"({"m.heroes":["@b:x",1,"@a:x"],"m.joined_member_count":3,"m.invited_member_count":0})");
    ck_assert(summary.heroes);
    assert_text(listed(*summary.heroes), "@b:x @a:x ");
    ck_assert(summary.joined_count == 3 && summary.invited_count == 0);
    summary = read_summary(R"({"m.heroes":"@a:x","m.joined_member_count":-1,"m.invited_member_count":"1"})");
    ck_assert(!summary.heroes && !summary.joined_count && !summary.invited_count);
    summary = read_summary(R"({"m.heroes":[]})");
    ck_assert(summary.heroes && summary.heroes->empty());
}
END_TEST

START_TEST(test_hostile_events) {
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    for (const std::string& event : {std::string(), std::string("null"), std::string("[]"), std::string("\"x\""), std::string("{"),
                                     std::string("}"), std::string(" "), std::string("{\"content\":"), std::string("{\"content\"}"),
                                     with_content(deep), with_content("{\"users\":" + deep + ",\"via\":" + deep + "}"),
                                     with_content("{\"name\":\"\\ud800\xFF\\u0000\"}"), std::string("{\"content\":{\"tags\":{\"a\":{}")}) {
        read_all(event);
    }
}
END_TEST

START_TEST(test_no_damaged_event_does_harm) {
    const std::string whole =
        R"({"sender":"@a:x","origin_server_ts":12,"content":{"membership":"join","displayname":"\ud83d\ude00","users":{"@a:x":"1"},)"
        R"("users_default":1e1,"via":["x","y"],"order":"a","tags":{"a":{}},"additional_creators":["@c:x"],"ignored_users":{"@d:x":{}},)"
        R"("unread":true,"@e:x":["!r"]},"m.heroes":["@f:x"],"m.joined_member_count":2})";
    for (std::size_t size = 0; size <= whole.size(); ++size) read_all(whole.substr(0, size));
    std::mt19937 random(1);
    const std::string bytes = R"({}[]",:\ 0-e)" + std::string("\0\xFF", 2);
    for (int round = 0; round < 2000; ++round) {
        std::string damaged = whole;
        for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = bytes[random() % bytes.size()];
        read_all(damaged);
    }
}
END_TEST

MATRIX_SYNC_SUITE("matrix", test_casefold, test_casefold_of_what_is_no_text, test_casefold_is_cut_between_characters,
                  test_casefolded_names_compare_by_code_point, test_sort_names, test_rooms_with_a_name, test_rooms_named_by_members,
                  test_five_heroes_are_named, test_names_of_heroes, test_empty_rooms, test_heroes_and_counts_that_disagree,
                  test_invites_have_no_counts, test_default_power_levels, test_power_levels, test_creators_above_all, test_forms_of_a_level,
                  test_order_of_a_space_as_specified, test_ties_in_a_space, test_children_of_a_space, test_members,
                  test_the_last_of_equal_names_counts, test_create, test_aliases, test_account_data, test_summaries, test_hostile_events,
                  test_no_damaged_event_does_harm)
