// JSON written, walked, cut up and rewritten, and text made storable.
#include <functional>
#include <string>
#include <vector>

#include "assert_text.hpp"
#include "core/json/cursor.hpp"
#include "core/json/reader.hpp"
#include "core/json/rewrite.hpp"
#include "core/json/text.hpp"
#include "core/json/writer.hpp"
#include "suite.hpp"

using namespace matrix_sync;
using namespace std::string_literals;

namespace {

using Want = JsonReader::Want;

// Enters what is called "in" and every array within, slices what is called "cut", "a" or "b" and every element; writes down what it is
// told.
struct Recorder : JsonReader::Handler {
    Want member(std::string_view name) override {
        if (name == "in") return Want::enter;
        return name == "cut" || name == "a" || name == "b" ? Want::slice : Want::skip;
    }
    Want element() override { return told.empty() ? Want::enter : Want::slice; }
    void entered(JsonKind kind) override { told += kind == JsonKind::object ? "{" : "["; }
    void left() override { told += "}"; }
    void slice(std::string_view json, std::size_t depth) override { told += "<" + std::string(json) + ">" + std::to_string(depth); }
    void scalar(JsonKind) override { told += "!"; }

    std::string told;
};

std::string told_of(const std::vector<std::string_view>& pieces, std::size_t max_depth = 100) {
    Recorder recorder;
    JsonReader reader(recorder, max_depth);
    for (auto piece : pieces) reader.feed(piece);
    reader.finish();
    return recorder.told;
}

bool is_refused(const std::function<void()>& what) {
    try {
        what();
    } catch (const JsonError&) {
        return true;
    }
    return false;
}

std::string rewritten(const std::string& json, const std::function<Rewrite(std::string_view)>& rule) {
    std::string out;
    JsonCursor cursor(json);
    rewrite_object(cursor, "test", out, [&](std::string_view name, JsonCursor&) { return rule(name); });
    return out;
}

std::string without(const std::string& json, const std::string& names) {
    return rewritten(json, [&](std::string_view name) { return Rewrite{names.find(name) == names.npos ? Rewrite::keep : Rewrite::drop}; });
}

}  // namespace

START_TEST(test_writer_composes) {
    JsonWriter writer;
    writer.object().key("next").string("t1").key("list").array().number(-5).boolean(true).null().raw("{\"a\": 1}").array().end_array();
    writer.object().end_object().end_array().key("last").object().key("x").number(INT64_MIN).end_object().end_object();
    assert_text(writer.take(), R"({"next":"t1","list":[-5,true,null,{"a": 1},[],{}],"last":{"x":-9223372036854775808}})");
    assert_text(writer.array().string("").end_array().take(), R"([""])");
}
END_TEST

START_TEST(test_writer_escapes) {
    JsonWriter writer;
    writer.string("\"\\/\b\f\n\r\t\x01\x1f\x7f"s + "\0"s + "ü€😀" + "\xff" + "\xed\xa0\x80");
    assert_text(writer.take(), R"("\"\\/\u0008\u000c\n\r\t\u0001\u001f)"
                               "\x7f"
                               R"(\u0000ü€😀)"
                               "\uFFFD\uFFFD\uFFFD\uFFFD\"");
}
END_TEST

START_TEST(test_text_is_storable) {
    assert_text(storable_text("plain ü€😀"), "plain ü€😀");
    assert_text(storable_text("a\0b"s), "a\uFFFDb");
    assert_text(storable_text("\xc0\x80|\xed\xa0\x80|\xf5|\xe2\x82|\xf4\x90\x80\x80|\x80"),
                "\uFFFD\uFFFD|\uFFFD\uFFFD\uFFFD|\uFFFD|\uFFFD\uFFFD|\uFFFD\uFFFD\uFFFD\uFFFD|\uFFFD");
    ck_assert(is_utf8("") && is_utf8("0123456789abcdef\xe2\x82\xac and \xf0\x9f\x98\x80 then 01234567"));
    for (auto wrong : {"\xc0\x80", "\xed\xa0\x80", "01234567\xff", "\xe2\x82", "0123456789\xf4\x90\x80\x80"}) ck_assert(!is_utf8(wrong));
}
END_TEST

START_TEST(test_escapes_are_resolved) {
    assert_text(unescape(R"(\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\uDE00)"), "\"\\/\b\f\n\r\té€😀");
    assert_text(unescape(R"(\u0000)"), "\0"s);
    assert_text(unescape(R"(\ud83d|\ude00|\ud83d\u0041|\ud83d\ud83d\ude00)"), "\uFFFD|\uFFFD|\uFFFDA|\uFFFD😀");
    // Never accepted by a parser, and harmless all the same.
    for (auto cut : {"\\", "\\u", "\\u12", "\\ud83d\\", "\\ud83d\\u12", "\\uzzzz"}) unescape(cut);
}
END_TEST

START_TEST(test_cursor_walks) {
    std::string seen;
    JsonCursor cursor(R"( { "a" : [ 1 , "x\"]" , {"y":[]} , -1.5e3 ] , "\u0062":"B" , "c":null, "d" : true,"e":{}, "f":[] } )");
    cursor.object("test", [&](std::string_view name, JsonCursor& value) {
        seen += std::string(name) + "=";
        if (name == "a") {
            value.array("a", [&](JsonCursor& element) { seen += "(" + std::string(element.skip()) + ")"; });
        } else if (name == "b") {
            seen += value.string("b");
        } else if (name == "d") {
            seen += value.boolean("d") ? "yes" : "no";
        }
        seen += ";";
    });
    assert_text(seen, R"(a=(1)("x\"]")({"y":[]})(-1.5e3);b=B;c=;d=yes;e=;f=;)");
}
END_TEST

START_TEST(test_cursor_refuses_other_kinds) {
    ck_assert(is_refused([] { JsonCursor("1").string("x"); }));
    ck_assert(is_refused([] { JsonCursor("{}").array("x", [](JsonCursor&) {}); }));
    ck_assert(is_refused([] { JsonCursor("[]").object("x", [](std::string_view, JsonCursor&) {}); }));
    ck_assert(is_refused([] { JsonCursor("null").boolean("x"); }));
}
END_TEST

START_TEST(test_cursor_survives_any_cut) {
    const std::string whole = R"({"a":[1,"x\"\\",{"y":[true,null]}],"b\u0041":"c"})";
    auto walk = [](std::string_view json) {
        JsonCursor(json).object("test", [](std::string_view, JsonCursor& value) {
            if (value.kind() == JsonKind::array) value.array("test", [](JsonCursor&) {});
        });
    };
    walk(whole);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        // A heap copy of that very length: a sanitizer sees each byte read beyond it.
        std::vector<char> copy(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        ck_assert_msg(is_refused([&] { walk({copy.data(), copy.size()}); }), "cut at %zu", length);
    }
}
END_TEST

START_TEST(test_reader_slices_at_every_cut) {
    const std::string json =
        " {\"no\":[1,{\"cut\":2}], \"cut\" : \t{\"x\":[\"}\\\"]\",{}], \"y\": 1.50 } ,\"a\":-12.5e+3,\"b\" :\"\\u20acx\" , "
        "\"in\":{\"a\":true,\"b\":null,\"c\":\"cut\",\"cut\":[ [ [ ] ] ],\"in\":[{\"q\": 0},[1 , 2],{}]},\"cut\":7}\n";
    const std::string expected =
        "{<{\"x\":[\"}\\\"]\",{}], \"y\": 1.50 }>3<-12.5e+3>0<\"\\u20acx\">0{<true>0<null>0<[ [ [ ] ] ]>3[<{\"q\": 0}>1<[1 , "
        "2]>1<{}>1}}<7>0}";
    assert_text(told_of({json}), expected);
    for (std::size_t cut = 0; cut <= json.size(); ++cut) {
        std::string_view text(json);
        assert_text(told_of({text.substr(0, cut), text.substr(cut)}), expected);
    }
    std::vector<std::string_view> bytes;
    for (const char& byte : json) bytes.emplace_back(&byte, 1);
    assert_text(told_of(bytes), expected);
}
END_TEST

START_TEST(test_reader_refuses) {
    for (auto wrong : {"", " ", "{", "{}}", "{} {}", "[1,]", "{\"a\":}", "{\"a\" 1}", "nul", "{\"a\":\"\x01\"}", "{\"a\":\"\\x\"}",
                       "{\"a\":01}", "{'a':1}", "{a:1}", "// x\n{}", "\"abc", "{\"a\":\"\\u12\"}"}) {
        ck_assert_msg(is_refused([&] { told_of({wrong}); }), "%s", wrong);
    }
}
END_TEST

START_TEST(test_reader_limits_depth) {
    auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    assert_text(told_of({"{\"no\":" + nested(9) + "}"}, 10), "{}");
    ck_assert(is_refused([&] { told_of({"{\"no\":" + nested(10) + "}"}, 10); }));
    assert_text(told_of({"{\"cut\":" + nested(20) + "}"}, 10), "{<" + nested(20) + ">20}");
}
END_TEST

START_TEST(test_reader_stops_at_what_a_handler_throws) {
    struct Thrower : Recorder {
        void slice(std::string_view, std::size_t) override { throw std::out_of_range("mine"); }
    } thrower;
    JsonReader reader(thrower, 100);
    for (int i = 0; i < 2; ++i) {
        try {
            reader.feed("{\"cut\":1, ");
            ck_abort_msg("nothing was thrown");
        } catch (const std::out_of_range& error) {
            ck_assert_str_eq(error.what(), "mine");
        }
    }
}
END_TEST

START_TEST(test_rewrite_keeps_other_bytes) {
    const std::string json = R"( { "a" : 1, "b":[ {"a":0} ] ,"c":"x" , "a":3 } )";
    assert_text(without(json, ""), R"({ "a" : 1, "b":[ {"a":0} ] ,"c":"x" , "a":3 })");
    assert_text(without(json, "a"), R"({"b":[ {"a":0} ] ,"c":"x" })");
    assert_text(without(json, "b"), R"({ "a" : 1 ,"c":"x" , "a":3 })");
    assert_text(without(json, "bc"), R"({ "a" : 1 , "a":3 })");
    assert_text(without(json, "ab"), R"({"c":"x" })");
    assert_text(without(json, "ac"), R"({"b":[ {"a":0} ] })");
    assert_text(without(json, "abc"), R"({ })");
    assert_text(without("{}", "a"), "{}");
    assert_text(rewritten(json,
                          [](std::string_view name) {
                              if (name == "a") return Rewrite{Rewrite::drop};
                              return name == "c" ? Rewrite{Rewrite::replace, "{}"} : Rewrite{};
                          }),
                R"({"b":[ {"a":0} ] ,"c":{} })");
}
END_TEST

MATRIX_SYNC_SUITE("json", test_writer_composes, test_writer_escapes, test_text_is_storable, test_escapes_are_resolved, test_cursor_walks,
                  test_cursor_refuses_other_kinds, test_cursor_survives_any_cut, test_reader_slices_at_every_cut, test_reader_refuses,
                  test_reader_limits_depth, test_reader_stops_at_what_a_handler_throws, test_rewrite_keeps_other_bytes)
