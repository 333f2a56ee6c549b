// What each room version leaves of a redacted event (rule 16).
#include "core/matrix/redaction.hpp"

#include <string>
#include <vector>

#include "assert_text.hpp"
#include "core/json/cursor.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

const std::string redaction = R"({"type":"m.room.redaction","event_id":"$r"})";
const std::string trail = R"("unsigned":{"redacted_because":)" + redaction + "}}";

std::string redacted(const std::string& body, const std::string& version) {
    return redact(body, version, redaction);
}

std::string event(const std::string& type, const std::string& content) {
    return R"({"type":")" + type + R"(","content":)" + content + ",";
}

// The content that is left of an event.
std::string left(const std::string& version, const std::string& type, const std::string& content) {
    std::string all = redacted(event(type, content) + R"("event_id":"$e"})", version);
    std::string kept;
    JsonCursor(all).object("event", [&](std::string_view name, JsonCursor& value) {
        if (name == "content") kept = value.skip();
    });
    return kept;
}

const std::vector<std::string> versions = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "org.example.new", "", "0"};

// The version as the rules count it: what is no known number is the newest.
int number(const std::string& version) {
    if (version.empty() || version == "0" || version[0] == 'o') return 13;
    return std::stoi(version);
}

}  // namespace

START_TEST(test_messages_are_emptied) {
    for (const auto& version : versions) {
        assert_text(left(version, "m.room.message", R"({"body":"secret","membership":"x","creator":"x","redacts":"x"})"), "{}");
        assert_text(left(version, "m.room.topic", R"({"topic":"secret","join_rule":"x","allow":[],"history_visibility":"x"})"), "{}");
        assert_text(left(version, "m.room.message", R"("no object")"), "{}");
        assert_text(left(version, "m.room.create", "[]"), "{}");
    }
}
END_TEST

START_TEST(test_members_of_an_event) {
    const std::string body =
        R"({"event_id":"$e","type":"t","room_id":"!r","sender":"@u","state_key":"","content":{"a":1},"hashes":{ "x":1 },"signatures":{},)"
        R"("depth":1,"prev_events":[],"prev_state":[],"auth_events":[],"origin":"x","origin_server_ts":1.0,"membership":"join",)"
        R"("redacts":"$x","age":1,"other":2,"unsigned":{"prev_content":{"body":"secret"}}})";
    const std::string common =
        R"({"event_id":"$e","type":"t","room_id":"!r","sender":"@u","state_key":"","content":{},"hashes":{ "x":1 },"signatures":{},"depth":1,)"
        R"("prev_events":[],)";
    for (const auto& version : versions) {
        bool old = number(version) < 11;
        assert_text(redacted(body, version), common + (old ? R"("prev_state":[],)" : "") + R"("auth_events":[],)" +
                                                 (old ? R"("origin":"x",)" : "") + R"("origin_server_ts":1.0,)" +
                                                 (old ? R"("membership":"join",)" : "") + trail);
    }
}
END_TEST

START_TEST(test_content_of_members) {
    const std::string content =
        R"({"membership":"join","displayname":"secret","join_authorised_via_users_server":"@a:x","avatar_url":"secret","reason":"secret",)"
        R"("third_party_invite":{"display_name":"secret","signed":{"mxid": "@u:x"}}})";
    for (const auto& version : versions) {
        std::string expected = R"({"membership":"join")";
        if (number(version) >= 9) expected += R"(,"join_authorised_via_users_server":"@a:x")";
        if (number(version) >= 11) expected += R"(,"third_party_invite":{"signed":{"mxid": "@u:x"}})";
        assert_text(left(version, "m.room.member", content), expected + "}");
    }
    assert_text(left("11", "m.room.member", R"({"third_party_invite":{"display_name":"secret"}})"), "{}");
    assert_text(left("11", "m.room.member", R"({"third_party_invite":"secret"})"), "{}");
}
END_TEST

START_TEST(test_content_of_create) {
    const std::string content = R"({"creator":"@u:x","room_version":"11","m.federate":false,"additional_creators":["@v:x"]})";
    for (const auto& version : versions) {
        assert_text(left(version, "m.room.create", content), number(version) >= 11 ? content : R"({"creator":"@u:x"})");
    }
}
END_TEST

START_TEST(test_content_of_join_rules) {
    for (const auto& version : versions) {
        assert_text(left(version, "m.room.join_rules", R"({"join_rule":"restricted","allow":[{}],"x":1})"),
                    number(version) >= 8 ? R"({"join_rule":"restricted","allow":[{}]})" : R"({"join_rule":"restricted"})");
    }
}
END_TEST

START_TEST(test_content_of_power_levels) {
    for (const auto& version : versions) {
        std::string invite = number(version) >= 11 ? R"("invite":4,)" : "";
        assert_text(left(version, "m.room.power_levels",
                         R"({"ban":1,"events":{"a":2},"events_default":3,"invite":4,"kick":5,"notifications":{"room":6},"redact":7,)"
                         R"("state_default":8,"users":{"@u:x":9},"users_default":10})"),
                    R"({"ban":1,"events":{"a":2},"events_default":3,)" + invite +
                        R"("kick":5,"redact":7,"state_default":8,"users":{"@u:x":9},"users_default":10})");
    }
}
END_TEST

START_TEST(test_content_of_the_rest) {
    for (const auto& version : versions) {
        assert_text(left(version, "m.room.history_visibility", R"({"x":1,"history_visibility":"shared"})"),
                    R"({"history_visibility":"shared"})");
        assert_text(left(version, "m.room.aliases", R"({"aliases":["#a:x"],"x":1})"),
                    number(version) < 6 ? R"({"aliases":["#a:x"]})" : "{}");
        assert_text(left(version, "m.room.redaction", R"({"redacts":"$x","reason":"secret"})"),
                    number(version) >= 11 ? R"({"redacts":"$x"})" : "{}");
    }
}
END_TEST

START_TEST(test_redacting_again_changes_nothing) {
    const std::string once = redacted(R"({"type":"m.room.message","content":{"body":"secret"},"event_id":"$e"})", "11");
    assert_text(once, R"({"type":"m.room.message","content":{},"event_id":"$e",)" + trail);
    assert_text(redacted(once, "11"), once);
}
END_TEST

START_TEST(test_odd_events) {
    assert_text(redacted("{}", "1"), "{" + trail);
    assert_text(redacted(R"({ "body":1 })", "1"), "{ " + trail);
    assert_text(redacted(R"({"content":{"membership":"join"},"t\u0079pe":"m.room.member","type":"m.room.message"})", "1"),
                R"({"content":{},"t\u0079pe":"m.room.member","type":"m.room.message",)" + trail);
    const std::string deep = std::string(900, '[') + std::string(900, ']');
    assert_text(left("11", "m.room.create", R"({"x":)" + deep + "}"), R"({"x":)" + deep + "}");
}
END_TEST

MATRIX_SYNC_SUITE("redaction", test_messages_are_emptied, test_members_of_an_event, test_content_of_members, test_content_of_create,
                  test_content_of_join_rules, test_content_of_power_levels, test_content_of_the_rest, test_redacting_again_changes_nothing,
                  test_odd_events)
