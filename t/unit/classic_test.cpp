// The parser of classic sync answers: what a real homeserver sent, whole and in every cut, and what no homeserver should send (rule 33).
#include "core/classic/parser.hpp"

#include <map>
#include <string>

#include "assert_text.hpp"
#include "captures.hpp"
#include "fake_loop.hpp"
#include "matrix_sync/error.hpp"
#include "room_at_once.hpp"
#include "suite.hpp"

using namespace matrix_sync;
using namespace std::string_literals;

namespace {

struct Answer {
    std::vector<RoomPart> rooms;
    AnswerRest rest;
    bool operator==(const Answer&) const = default;
};

template <class Pieces>
Answer parse(const Pieces& pieces) {
    ClassicParser parser;
    Answer answer;
    for (std::string_view piece : pieces) {
        parser.feed(piece);
        for (RawRoom& room : parser.take_rooms()) answer.rooms.push_back(room_at_once(std::move(room)));
    }
    parser.finish();
    answer.rest = parser.take_rest();
    return answer;
}

Answer parse_whole(std::string_view json) {
    return parse(std::vector{json});
}

Answer parse_cut(std::string_view json, std::size_t cut) {
    return parse(std::vector{json.substr(0, cut), json.substr(cut)});
}

Answer parse_in_pieces(std::string_view json, std::size_t size) {
    std::vector<std::string_view> pieces;
    for (std::size_t at = 0; at < json.size(); at += size) pieces.push_back(json.substr(at, size));
    return parse(pieces);
}

bool is_nonsense(std::string_view json) {
    try {
        parse_whole(json);
    } catch (const HomeserverNonsense&) {
        return true;
    }
    return false;
}

// An answer with one joined room, whose object this is.
std::string answer_with(const std::string& room) {
    return R"({"rooms":{"join":{"!r:x":)" + room + R"(}},"next_batch":"n"})";
}

RoomPart joined(const std::string& room) {
    Answer answer = parse_whole(answer_with(room));
    ck_assert_uint_eq(answer.rooms.size(), 1);
    assert_text(answer.rooms[0].raw, room);
    assert_text(answer.rooms[0].room.value, "!r:x");
    ck_assert(room_at_once(RoomId{"!r:x"}, Section::join, room) == answer.rooms[0]);
    return answer.rooms[0];
}

Event event(const std::string& json) {
    RoomPart part = joined(R"({"timeline":{"events":[)" + json + "]}}");
    assert_text(part.broken, "");
    ck_assert_uint_eq(part.timeline.size(), 1);
    return part.timeline[0];
}

// An event with those members besides what every event has.
std::string event_json(const std::string& members) {
    return R"({"event_id":"$e","type":"t","sender":"@u:x")" + members + "}";
}

std::string body_with_unsigned(const std::string& unsigned_json) {
    return event(event_json(R"(,"unsigned":)" + unsigned_json)).body;
}

std::string nested(std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
}

RoomPart only_room(const std::string& capture) {
    Answer answer = parse_whole(response_of(capture));
    ck_assert_uint_eq(answer.rooms.size(), 1);
    return answer.rooms[0];
}

}  // namespace

// Captures are fed in pieces of each of these sizes, so that every byte is a border at least once, and cut in two: at every byte, the
// larger ones at every 997th.
START_TEST(test_captures_parse_the_same_in_every_cut) {
    auto captures = all_captures();
    ck_assert_uint_eq(captures.size(), 34);
    for (const auto& [name, response] : captures) {
        const Answer whole = parse_whole(response);
        for (const auto& room : whole.rooms) {
            assert_text(room.broken, "");
            ck_assert_msg(response.find(room.raw) != response.npos, "%s: not the bytes that came", name.c_str());
            ck_assert(room_at_once(room.room, room.section, room.raw) == room);
        }
        for (std::size_t size : {1, 2, 3, 7, 64, 4096}) {
            ck_assert_msg(parse_in_pieces(response, size) == whole, "%s in pieces of %zu", name.c_str(), size);
        }
        std::size_t stride = response.size() < 2'500 ? 1 : 997;
        for (std::size_t cut = 0; cut <= response.size(); cut += stride) {
            ck_assert_msg(parse_cut(response, cut) == whole, "%s cut at %zu", name.c_str(), cut);
        }
    }
}
END_TEST

START_TEST(test_captures_cut_off_are_refused) {
    for (const auto& [name, response] : all_captures()) {
        std::size_t stride = response.size() < 2'500 ? 7 : 997;
        for (std::size_t length = 0; length < response.size(); length += stride) {
            ck_assert_msg(is_nonsense(std::string_view(response).substr(0, length)), "%s cut off at %zu", name.c_str(), length);
        }
    }
}
END_TEST

START_TEST(test_initial_answer) {
    Answer answer = parse_whole(response_of("v2_initial_default"));
    std::map<Section, int> sections;
    for (const auto& room : answer.rooms) ++sections[room.section];
    ck_assert_int_eq(sections[Section::join], 9);
    ck_assert_int_eq(sections[Section::invite], 2);
    ck_assert_int_eq(sections[Section::knock], 1);
    ck_assert_int_eq(sections[Section::leave], 2);
    assert_text(answer.rooms[0].room.value, "!lqhRATRsfAMHaGREWh:localhost");
    const RoomPart& first = answer.rooms[0];
    ck_assert_uint_eq(first.timeline.size(), 9);
    ck_assert(first.timeline[0].is_state("m.room.create"));
    assert_text(first.timeline[0].room_version, "9");
    for (const auto& room : answer.rooms) {
        bool stripped = room.section == Section::invite || room.section == Section::knock;
        ck_assert(stripped == !room.stripped_state.empty());
        ck_assert(stripped == room.timeline.empty());
    }
    ck_assert(!answer.rest.account_data.empty());
    ck_assert(answer.rest.account_data[0].body.find("\"" + answer.rest.account_data[0].type + "\"") != std::string::npos);
}
END_TEST

START_TEST(test_block_says_which_state_it_is) {
    RoomPart before = parse_whole(response_of("v2_initial_limit5")).rooms[0];
    ck_assert(!before.state_is_after && before.state.size() == 8);
    RoomPart after = parse_whole(response_of("v2_initial_state_after")).rooms[0];
    ck_assert(after.state_is_after && after.state.size() == 8);
    ck_assert(joined(R"({"state_after":{"events":[]}})").state_is_after);
    ck_assert(!joined(R"({"state":{"events":[]}})").state_is_after);
    const std::string state = R"({"events":[)" + event_json(R"(,"state_key":"")") + "]}";
    for (const auto& both :
         {R"({"state_after":{"events":[]},"state":)" + state + "}", R"({"state":)" + state + R"(,"state_after":{"events":[]}})"}) {
        ck_assert(joined(both).state_is_after && joined(both).state.empty());
    }
}
END_TEST

START_TEST(test_gap) {
    RoomPart room = only_room("v2_inc22_gap_with_state");
    ck_assert(room.limited);
    assert_text(room.prev_batch.value_or(""), "s266_6_4_7_10_1_2_5_0_1_1_1_1_1");
    ck_assert_uint_eq(room.timeline.size(), 5);
    ck_assert_uint_eq(room.state.size(), 1);
    const Event& topic = room.state[0];
    ck_assert(topic.is_state("m.room.topic"));
    assert_text(topic.event_id.value, "$57BIUWALFowk4SQsD996w0svhpBU_4S4b1b2FkpINig");
    assert_text(topic.sender.value, "@bob:localhost");
    ck_assert_int_eq(topic.origin_server_ts, 1795366835326);
    ck_assert(topic.body.find("hidden in gap") != std::string::npos);
    ck_assert(topic.body.find("unsigned") == std::string::npos);
    ck_assert(room.unread_notifications.starts_with("{") && room.unread_notifications.find("90") != std::string::npos);
    ck_assert(!only_room("v2_inc23_redaction").limited);
}
END_TEST

START_TEST(test_redaction) {
    Event redaction = only_room("v2_inc23_redaction").timeline.at(0);
    assert_text(redaction.redacts.value().value, "$48OM0cEMhEkuZq0nMZGn9LFHbXkHKnzuCzKCrgCl-aU");
    auto target = [](const std::string& type, const std::string& members) {
        auto redacts = event(R"({"event_id":"$e","sender":"@u:x","type":")" + type + "\"" + members + "}").redacts;
        return redacts ? redacts->value : "none";
    };
    assert_text(target("m.room.redaction", R"(,"content":{"redacts":"$in"})"), "$in");
    assert_text(target("m.room.redaction", R"(,"redacts":"$top","content":{})"), "$top");
    assert_text(target("m.room.redaction", R"(,"content":{"redacts":"$in"},"redacts":"$top")"), "$top");
    assert_text(target("m.room.redaction", R"(,"content":{"redacts":5})"), "none");
    assert_text(target("m.room.redaction", R"(,"redacts":")" + std::string(256, 'x') + "\""), "none");
    assert_text(target("m.room.message", R"(,"redacts":"$top","content":{"redacts":"$in"})"), "none");
}
END_TEST

START_TEST(test_transaction_id_is_the_devices_own) {
    RoomPart room = only_room("v2_inc24_own_send_txn");
    assert_text(room.timeline.at(0).transaction_id.value_or(""), "t1795366828575");
    ck_assert(!room.timeline.at(1).transaction_id);
    ck_assert(room.timeline[0].body.find("t1795366828575") == std::string::npos);
    Event other = event(event_json(R"(,"unsigned":{"redacted_because":{"unsigned":{"transaction_id":"t"}},"transaction_id":7})"));
    ck_assert(!other.transaction_id);
}
END_TEST

START_TEST(test_to_device_comes_byte_for_byte) {
    Answer answer = parse_whole(response_of("v2_inc09_to_device"));
    ck_assert_uint_eq(answer.rest.to_device.size(), 1);
    assert_text(answer.rest.to_device[0],
                "{\n     \"content\": {\n      \"hello\": 1\n     },\n     \"type\": \"org.example.ping\",\n     \"sender\": "
                "\"@bob:localhost\"\n    }");
    const std::string deep = R"({"content":)" + nested(5000) + "}";
    const std::string odd = "{ \"a\":1.0E+5 ,\"a\":\"\\ud800\\u0000\\u00e9\" }";
    Answer two = parse_whole(R"({"to_device":{"events":[)" + odd + " , " + deep + R"(]},"next_batch":"n"})");
    ck_assert_uint_eq(two.rest.to_device.size(), 2);
    assert_text(two.rest.to_device[0], odd);
    assert_text(two.rest.to_device[1], deep);
}
END_TEST

START_TEST(test_typing_and_receipts) {
    RoomPart on = only_room("v2_inc06_typing_on");
    ck_assert(on.typing == std::vector<std::string>({"@carol:localhost", "@bob:localhost"}));
    RoomPart off = only_room("v2_inc07_typing_off");
    ck_assert(off.typing && off.typing->empty());
    RoomPart receipt = only_room("v2_inc05_read_receipt_other");
    ck_assert(!receipt.typing);
    ck_assert_uint_eq(receipt.receipts.size(), 1);
    ck_assert(receipt.receipts[0].find("\"m.read\"") != std::string::npos);
}
END_TEST

START_TEST(test_keys_and_device_lists) {
    AnswerRest keys = parse_whole(response_of("v2_inc_state_after")).rest;
    assert_text(keys.next_batch, "s279_6_4_7_10_1_2_8_0_1_1_1_1_1");
    assert_text(keys.one_time_keys_count.value_or(""), "{\n   \"signed_curve25519\": 1\n  }");
    assert_text(keys.unused_fallback_key_types.value_or(""), "[\n   \"signed_curve25519\"\n  ]");
    AnswerRest none = parse_whole(R"({"next_batch":"n"})").rest;
    ck_assert(!none.one_time_keys_count && !none.unused_fallback_key_types);
    AnswerRest empty =
        parse_whole(R"({"next_batch":"n","device_one_time_keys_count":{},"org.matrix.msc2732.device_unused_fallback_key_types":[]})").rest;
    assert_text(empty.one_time_keys_count.value_or("absent"), "{}");
    assert_text(empty.unused_fallback_key_types.value_or("absent"), "[]");

    AnswerRest lists = parse_whole(response_of("v2_inc25_device_list_change")).rest;
    ck_assert(lists.device_lists_changed == std::vector{UserId{"@bob:localhost"}} && lists.device_lists_left.empty());
    ck_assert_uint_eq(parse_whole(response_of("v2_inc27_user_left_shared_rooms")).rest.device_lists_left.size(), 1);
}
END_TEST

START_TEST(test_a_large_room_is_read_in_slices) {
    std::string events;
    for (int i = 0; i < 5000; ++i) {
        events += (i > 0 ? "," : "") + R"({"type":"m.room.message","event_id":"$)"s + std::to_string(i) +
                  R"(","sender":"@ä:x","content":{"body":")" + std::string(100, 'x') + R"("}})";
    }
    const std::string json = R"({"timeline":{"events":[)" + events + R"(]},"state":{"events":[]}})";
    FakeLoop loop;
    int turns = 0;
    auto in_slices = [&](const std::string& raw) {
        Slices slices(loop);
        turns = 0;
        auto turn = [&] {
            ++turns;
            loop.turn();
        };
        return complete(parse_room(RoomId{"!r:x"}, Section::join, raw, slices), turn);
    };
    ck_assert(in_slices(json) == room_at_once(RoomId{"!r:x"}, Section::join, json));
    ck_assert_int_ge(turns, static_cast<int>(json.size() / 100'000));
    for (std::size_t at : {json.find("xxx", 70'000), json.rfind("xxx")}) {
        std::string not_utf8 = json;
        not_utf8[at] = '\xff';
        assert_text(in_slices(not_utf8).broken, "not UTF-8");
        assert_text(in_slices(json.substr(0, at)).broken, "not JSON");
    }
}
END_TEST

START_TEST(test_rooms_come_as_they_become_whole) {
    const std::string json = R"({"rooms":{"join":{"!a:x":{"timeline":{}},"!b:x":{}}},"next_batch":"n"})";
    ClassicParser parser;
    std::size_t first_end = json.find(",\"!b");
    parser.feed(std::string_view(json).substr(0, first_end - 1));
    ck_assert(parser.take_rooms().empty());
    ck_assert_uint_eq(parser.pending_bytes(), 0);
    parser.feed(std::string_view(json).substr(first_end - 1, 1));
    ck_assert_uint_eq(parser.pending_bytes(), strlen(R"({"timeline":{}})"));
    auto rooms = parser.take_rooms();
    ck_assert_uint_eq(rooms.size(), 1);
    assert_text(rooms[0].room.value, "!a:x");
    ck_assert_uint_eq(parser.pending_bytes(), 0);
    parser.feed(std::string_view(json).substr(first_end));
    parser.finish();
    ck_assert_uint_eq(parser.take_rooms().size(), 1);
}
END_TEST

START_TEST(test_unsigned_keeps_what_is_shared) {
    const std::string plain = event_json("");
    for (auto gone :
         {R"({})", R"({"age":1})", R"({ "age":1 , "membership":"join","m.relations":{"a":[{}]},"transaction_id":"t" })",
          R"({"org.matrix.msc4115.membership":"join","prev_sender":"@a:x"})", "null", "[1]", R"("x")", R"({"redacted_because":null})"}) {
        assert_text(body_with_unsigned(gone), plain);
    }
    const std::string kept = R"({ "prev_content" : {"age": 1} ,"replaces_state":"$x", "invite_room_state":[ {"unsigned":{"age":1}} ] })";
    assert_text(body_with_unsigned(kept), event_json(R"(,"unsigned":)" + kept));
    assert_text(body_with_unsigned(R"({"age":3,"prev_content":{"a": 1},"membership":"join"})"),
                event_json(R"(,"unsigned":{"prev_content":{"a": 1}})"));
    assert_text(body_with_unsigned(R"({"\u0061ge":3,"prev\u005fcontent":{}})"), event_json(R"(,"unsigned":{"prev\u005fcontent":{}})"));
}
END_TEST

START_TEST(test_unsigned_of_a_redaction_is_filtered_too) {
    assert_text(body_with_unsigned(R"({"redacted_because":{"type": "m", "unsigned":{"age":1,"transaction_id":"t"},"age":2},"age":4})"),
                event_json(R"(,"unsigned":{"redacted_because":{"type": "m"}})"));
    assert_text(body_with_unsigned(R"({"redacted_because":{"unsigned":{"age":1,"replaces_state":"$x"}}})"),
                event_json(R"(,"unsigned":{"redacted_because":{"unsigned":{"replaces_state":"$x"}}})"));
    std::string in_each_other = "{}";
    for (int i = 0; i < 300; ++i) in_each_other = R"({"unsigned":{"transaction_id":"secret","redacted_because":)" + in_each_other + "}}";
    const std::string body = body_with_unsigned(R"({"redacted_because":)" + in_each_other + "}");
    ck_assert(body.find("redacted_because") != body.npos && body.find("secret") == body.npos);
}
END_TEST

START_TEST(test_unsigned_wherever_it_stands) {
    assert_text(event(R"({"unsigned":{"age":1},"event_id":"$e","type":"t","sender":"@u:x"})").body,
                R"({"event_id":"$e","type":"t","sender":"@u:x"})");
    assert_text(event(R"({ "event_id":"$e" , "unsigned":{"age":1} , "type":"t", "age": 5, "sender":"@u:x" })").body,
                R"({ "event_id":"$e" , "type":"t", "sender":"@u:x" })");
    const std::string twice = event(event_json(R"(,"unsigned":{"transaction_id":"one"},"x":1,"unsigned":{"transaction_id":"two"})")).body;
    assert_text(twice, event_json(R"(,"x":1)"));
    assert_text(event(event_json(R"(,"content":{"unsigned":{"age":1},"age":2})")).body,
                event_json(R"(,"content":{"unsigned":{"age":1},"age":2})"));
}
END_TEST

START_TEST(test_what_is_known_of_events) {
    auto of = [](const std::string& type, const std::string& members) {
        return event(R"({"event_id":"$e","sender":"@u:x","type":")" + type + "\"" + members + "}");
    };
    assert_text(of("m.room.member", R"(,"state_key":"@u:x","content":{"membership":"ban"})").membership, "ban");
    assert_text(of("m.room.member", R"(,"content":{"membership":["ban"]})").membership, "");
    assert_text(of("m.room.message", R"(,"content":{"membership":"ban"})").membership, "");
    assert_text(of("m.room.create", R"(,"content":{"room_version":"12"})").room_version, "12");
    assert_text(of("m.room.create", R"(,"content":{})").room_version, "1");
    assert_text(of("m.room.create", R"(,"content":{"room_version":12})").room_version, "1");
    assert_text(of("m.room.create", "").room_version, "1");
    assert_text(of("m.room.name", "").room_version, "");
    ck_assert(!of("t", "").state_key && !of("t", R"(,"state_key":null)").state_key);
    assert_text(of("t", R"(,"state_key":"")").state_key.value_or("absent"), "");
    assert_text(of("t", R"(,"state_key":")" + std::string(5000, 'k') + "\"").state_key.value_or(""), std::string(5000, 'k'));
    ck_assert_int_eq(of("t", R"(,"origin_server_ts":1795366835326)").origin_server_ts, 1795366835326);
    for (auto wrong : {"1e3", "1.5", "99999999999999999999", "\"5\"", "null", "{}"}) {
        ck_assert_int_eq(of("t", R"(,"origin_server_ts":)"s + wrong).origin_server_ts, 0);
    }
}
END_TEST

START_TEST(test_identifiers_are_storable) {
    Event odd = event(R"({"event_id":"$e","type":"a\u0000b\ud800","sender":"@\u0000:x","state_key":"\udfff"})");
    assert_text(odd.type, "a\uFFFDb\uFFFD");
    assert_text(odd.sender.value, "@\uFFFD:x");
    assert_text(odd.state_key.value_or(""), "\uFFFD");
    Answer answer = parse_whole(R"({"rooms":{"join":{"!\u0000\ud800é:x":{}}},"next_batch":"n"})");
    ck_assert(answer.rooms[0].room.value.find('\0') == std::string::npos && answer.rooms[0].room.value.ends_with("é:x"));
    // 255 characters of four bytes each are as good as 255 letters.
    std::string long_type;
    for (int i = 0; i < 255; ++i) long_type += "😀";
    assert_text(event(R"({"event_id":"$e","sender":"@u:x","type":")" + long_type + "\"}").type, long_type);
}
END_TEST

START_TEST(test_one_bad_room_is_set_aside) {
    auto with_event = [](const std::string& json) { return R"({"timeline":{"events":[)" + json + "]}}"; };
    const std::string too_long(256, 'x');
    const std::vector<std::string> rooms = {"5",
                                            "null",
                                            "[]",
                                            "\"x\"",
                                            R"({"timeline":[]})",
                                            R"({"timeline":{"events":{}}})",
                                            R"({"timeline":{"limited":1}})",
                                            R"({"timeline":{"prev_batch":{}}})",
                                            R"({"state":"x"})",
                                            R"({"state":{"events":[5]}})",
                                            R"({"state_after":{"events":[{}]}})",
                                            R"({"ephemeral":{"events":[1]}})",
                                            R"({"ephemeral":{"events":[{"type":"m.typing","content":{"user_ids":[1]}}]}})",
                                            R"({"ephemeral":{"events":[{"type":"m.typing"}]}})",
                                            R"({"account_data":{"events":["x"]}})",
                                            R"({"summary":[]})",
                                            R"({"unread_notifications":7})",
                                            R"({"unread_thread_notifications":"x"})",
                                            with_event("[]"),
                                            with_event("null"),
                                            with_event("{}"),
                                            with_event(R"({"type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$e","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$e","type":"t"})"),
                                            with_event(R"({"event_id":5,"type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"","type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$\u0000","type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$\ud800","type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":")" + too_long + R"(","type":"t","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$e","type":")" + too_long + R"(","sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$e","type":"t","sender":")" + too_long + "\"}"),
                                            with_event(R"({"event_id":"$e","type":{},"sender":"@u:x"})"),
                                            with_event(R"({"event_id":"$e","type":"t","sender":null})"),
                                            with_event(event_json(R"(,"state_key":7)")),
                                            with_event(event_json(",\"content\":\"\xff\"")),
                                            with_event(event_json(",\"content\":\"\xed\xa0\x80\"")),
                                            with_event(event_json(R"(,"content":)" + nested(1000))),
                                            with_event(event_json(R"(,"content":)" + nested(100'000)))};
    for (const auto& room : rooms) {
        Answer answer = parse_whole(R"({"rooms":{"leave":{"!a:x":{},"!bad:x": )" + room + R"( ,"!c:x":{}}},"next_batch":"n"})");
        ck_assert_uint_eq(answer.rooms.size(), 3);
        const RoomPart& bad = answer.rooms[1];
        ck_assert_msg(!bad.broken.empty(), "%.200s", room.c_str());
        assert_text(bad.raw, room);
        assert_text(bad.room.value, "!bad:x");
        ck_assert(bad.section == Section::leave && bad.timeline.empty() && bad.state.empty());
        ck_assert(answer.rooms[0].broken.empty() && answer.rooms[2].broken.empty());
        ck_assert(!room_at_once(bad.room, bad.section, room).broken.empty());
    }
}
END_TEST

START_TEST(test_set_aside_rooms_may_hold_anything) {
    for (auto raw : {"", " ", "{", "{\"timeline\"", "nul", "{}x", "{\"timeline\":{\"events\":[{\"a", "\xff", "[[[["}) {
        RoomPart part = room_at_once(RoomId{"!r:x"}, Section::join, raw);
        ck_assert_msg(!part.broken.empty(), "%s", raw);
        assert_text(part.raw, raw);
    }
    ck_assert(room_at_once(RoomId{"!r:x"}, Section::join, " {} ").broken.empty());
}
END_TEST

START_TEST(test_odd_but_legal_rooms_are_read) {
    for (auto odd :
         {R"({})", R"({"timeline":null,"state":null,"ephemeral":null,"account_data":null,"summary":null,"unread_notifications":null})",
          R"({"timeline":{"events":null,"limited":null,"prev_batch":null},"unknown":[{}]})",
          R"({"ephemeral":{"events":[{"type":"m.unknown","content":5},{}]}})", R"({"invite_state":5})"}) {
        assert_text(joined(odd).broken, "");
    }
    assert_text(event(event_json(R"(,"content":)" + nested(900))).type, "t");
    // Of a key that stands twice the last counts.
    RoomPart twice =
        joined(R"({"timeline":{"events":[)" + event_json("") + R"(],"limited":true},"timeline":{"events":[],"prev_batch":"p"}})");
    ck_assert(twice.timeline.empty() && !twice.limited && twice.prev_batch == "p");
    assert_text(event(R"({"event_id":"$a","type":"t","sender":"@u:x","type":"u","event_id":"$b"})").event_id.value, "$b");
}
END_TEST

START_TEST(test_nonsense_is_refused) {
    for (const auto& wrong : std::vector<std::string>{"",
                                                      "null",
                                                      "[]",
                                                      "5",
                                                      "\"x\"",
                                                      "{}",
                                                      "not json",
                                                      "<html>",
                                                      "{\"next_batch\":5}",
                                                      "{\"next_batch\":null}",
                                                      "{\"next_batch\":\"\"}",
                                                      "{\"next_batch\":\"n\"}}",
                                                      "{\"next_batch\":\"n\"} {}",
                                                      "{\"next_batch\":\"n\",}",
                                                      "\xef\xbb\xbf{\"next_batch\":\"n\"}",
                                                      R"({"next_batch":"n","rooms":[]})",
                                                      R"({"next_batch":"n","rooms":"x"})",
                                                      R"({"next_batch":"n","rooms":{"join":[]}})",
                                                      R"({"next_batch":"n","rooms":{"join":5}})",
                                                      R"({"next_batch":"n","to_device":[]})",
                                                      R"({"next_batch":"n","to_device":{"events":{}}})",
                                                      R"({"next_batch":"n","to_device":{"events":[5]}})",
                                                      R"({"next_batch":"n","to_device":{"events":[null]}})",
                                                      R"({"next_batch":"n","to_device":{"events":[[]]}})",
                                                      "{\"next_batch\":\"n\",\"to_device\":{\"events\":[{\"a\":\"\xff\"}]}}",
                                                      R"({"next_batch":"n","account_data":{"events":[{}]}})",
                                                      R"({"next_batch":"n","account_data":{"events":[{"type":5}]}})",
                                                      R"({"next_batch":"n","device_lists":[]})",
                                                      R"({"next_batch":"n","device_lists":{"changed":[1]}})",
                                                      R"({"next_batch":"\u0000"})",
                                                      R"({"next_batch":"n","device_one_time_keys_count":[]})",
                                                      R"({"next_batch":"n","device_unused_fallback_key_types":{}})",
                                                      R"({"next_batch":"n","presence":)" + nested(100) + "}",
                                                      R"({"next_batch":"n","device_one_time_keys_count":{"a":)" + nested(99) + "}}",
                                                      nested(1'000'000)}) {
        ck_assert_msg(is_nonsense(wrong), "%.200s", wrong.c_str());
    }
    // Null is as good as nothing.
    parse_whole(R"({"next_batch":"n","rooms":null,"to_device":null,"account_data":{"events":null},"device_lists":{"changed":null}})");
    parse_whole(R"({"next_batch":"n","rooms":{"join":null,"other":5},"device_lists":null,"device_one_time_keys_count":null,"x":)" +
                nested(99) + "}");
}
END_TEST

START_TEST(test_repeated_members_of_the_answer) {
    Answer answer = parse_whole(
        R"({"next_batch":"a","to_device":{"events":[{"n":1}]},"to_device":{"events":[{"n":2}],"events":[{"n":3}]},"next_batch":"b",)"
        R"("rooms":{"join":{"!a:x":{},"!a:x":{}}},"rooms":{"leave":{"!b:x":{}}},)"
        R"("device_lists":{"changed":["@a:x"],"left":["@b:x"]},"device_lists":{"changed":["@c:x"]}})");
    assert_text(answer.rest.next_batch, "b");
    ck_assert(answer.rest.to_device == std::vector<std::string>{R"({"n":3})"});
    ck_assert_uint_eq(answer.rooms.size(), 3);
    ck_assert(answer.rest.device_lists_changed == std::vector{UserId{"@c:x"}} && answer.rest.device_lists_left.empty());
}
END_TEST

START_TEST(test_account_data_that_no_index_takes_is_left_out) {
    Answer answer = parse_whole(R"({"next_batch":"n","account_data":{"events":[ {"type":"a", "content": {}} ,{"type":")" +
                                std::string(3000, 'x') + R"("},{"type":"b"}]}})");
    ck_assert_uint_eq(answer.rest.account_data.size(), 2);
    assert_text(answer.rest.account_data[0].body, R"({"type":"a", "content": {}})");
    assert_text(answer.rest.account_data[1].type, "b");
}
END_TEST

START_TEST(test_huge_strings) {
    const std::string huge(20'000'000, 'x');
    const std::string json = answer_with(R"({"timeline":{"events":[)" + event_json(R"(,"content":{"body":")" + huge + "\"}") + "]}}");
    Answer answer = parse_in_pieces(json, 65536);
    ck_assert_uint_gt(answer.rooms.at(0).timeline.at(0).body.size(), huge.size());
    parse_in_pieces(R"({")" + huge + R"(":")" + huge + R"(","next_batch":"n"})", 65536);
}
END_TEST

MATRIX_SYNC_SUITE("classic", test_captures_parse_the_same_in_every_cut, test_captures_cut_off_are_refused, test_initial_answer,
                  test_block_says_which_state_it_is, test_gap, test_redaction, test_transaction_id_is_the_devices_own,
                  test_to_device_comes_byte_for_byte, test_typing_and_receipts, test_keys_and_device_lists,
                  test_rooms_come_as_they_become_whole, test_a_large_room_is_read_in_slices, test_unsigned_keeps_what_is_shared,
                  test_unsigned_of_a_redaction_is_filtered_too, test_unsigned_wherever_it_stands, test_what_is_known_of_events,
                  test_identifiers_are_storable, test_one_bad_room_is_set_aside, test_set_aside_rooms_may_hold_anything,
                  test_odd_but_legal_rooms_are_read, test_nonsense_is_refused, test_repeated_members_of_the_answer,
                  test_account_data_that_no_index_takes_is_left_out, test_huge_strings)
