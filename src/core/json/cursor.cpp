#include "core/json/cursor.hpp"

#include <cstdint>
#include <cstring>

namespace matrix_sync {

namespace {

// Not zero if one of the eight bytes is `byte`.
constexpr std::uint64_t any_byte(std::uint64_t eight, char byte) {
    constexpr std::uint64_t ones = 0x0101010101010101;
    std::uint64_t zero_where_equal = eight ^ (ones * static_cast<unsigned char>(byte));
    return (zero_where_equal - ones) & ~zero_where_equal & (ones << 7);
}

// Skips what can be told eight bytes at a time to be neither a quote nor a backslash.
const char* skip_plain(const char* at, const char* end) {
    for (std::uint64_t eight; end - at >= 8; at += 8) {
        std::memcpy(&eight, at, 8);
        if (any_byte(eight, '"') | any_byte(eight, '\\')) break;
    }
    return at;
}

}  // namespace

JsonKind JsonCursor::kind() const {
    switch (peek()) {
        case '{':
            return JsonKind::object;
        case '[':
            return JsonKind::array;
        case '"':
            return JsonKind::string;
        case 't':
        case 'f':
            return JsonKind::boolean;
        case 'n':
            return JsonKind::null;
        default:
            return JsonKind::number;
    }
}

std::string_view JsonCursor::skip() {
    const char* begin = at_;
    switch (peek()) {
        case '{':
        case '[':
            skip_container();
            break;
        case '"':
            string_token();
            break;
        default:
            skip_word();
    }
    value_ends_here();
    return {begin, value_end_};
}

std::string_view JsonCursor::slice(JsonKind expected, const char* what) {
    expect(expected, what);
    return skip();
}

std::string JsonCursor::string(const char* what) {
    expect(JsonKind::string, what);
    std::string_view text = string_token();
    value_ends_here();
    return text.find('\\') == text.npos ? std::string(text) : unescape(text);
}

std::string JsonCursor::text(const char* what) {
    expect(JsonKind::string, what);
    std::string_view text = string_token();
    value_ends_here();
    return storable_text(text.find('\\') == text.npos ? text : unescape(text));
}

bool JsonCursor::boolean(const char* what) {
    return slice(JsonKind::boolean, what) == "true";
}

void JsonCursor::unexpected() const {
    throw JsonError("not JSON");
}

void JsonCursor::expect(JsonKind expected, const char* what) const {
    static constexpr const char* names[] = {"an object", "an array", "a string", "a number", "a boolean", "null"};
    if (kind() != expected) throw JsonError(std::string(what) + ": expected " + names[static_cast<int>(expected)]);
}

// What stands between the quotes; the cursor stands right behind them.
std::string_view JsonCursor::string_token() {
    if (peek() != '"') unexpected();
    const char* begin = ++at_;
    for (at_ = skip_plain(at_, end_); peek() != '"'; ++at_) {
        if (*at_ != '\\') continue;
        if (end_ - at_ < 2) unexpected();
        at_ = skip_plain(at_ + 2, end_) - 1;
    }
    return {begin, at_++};
}

void JsonCursor::skip_container() {
    std::size_t depth = 0;
    do {
        switch (peek()) {
            case '"':
                string_token();
                continue;
            case '{':
            case '[':
                ++depth;
                break;
            case '}':
            case ']':
                --depth;
                break;
        }
        ++at_;
    } while (depth);
}

void JsonCursor::skip_word() {
    const char* begin = at_;
    constexpr std::string_view after = ",:]} \n\r\t";
    while (at_ != end_ && after.find(*at_) == after.npos) ++at_;
    if (at_ == begin) unexpected();
}

}  // namespace matrix_sync
