#include "core/json/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace matrix_sync {

namespace {

// Length of a character and the bounds of the byte after `lead` (Unicode, table 3-7).
struct Second {
    std::size_t length;
    unsigned char low = 0x80, high = 0xBF;
};

Second second_byte(unsigned char lead) {
    if (lead < 0xC2 || lead > 0xF4) return {0};
    if (lead < 0xE0) return {2};
    if (lead == 0xE0) return {3, 0xA0};
    if (lead == 0xED) return {3, 0x80, 0x9F};
    if (lead < 0xF0) return {3};
    if (lead == 0xF0) return {4, 0x90};
    if (lead == 0xF4) return {4, 0x80, 0x8F};
    return {4};
}

std::size_t ascii_length(std::string_view text) {
    std::size_t i = 0;
    for (std::uint64_t eight; i + sizeof eight <= text.size(); i += sizeof eight) {
        std::memcpy(&eight, text.data() + i, sizeof eight);
        if (eight & 0x8080808080808080u) break;
    }
    while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
    return i;
}

void append_character(std::string& out, std::uint32_t code) {
    auto continuation = [&](int shift) { return static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += {static_cast<char>(0xC0 | (code >> 6)), continuation(0)};
    } else if (code < 0x10000) {
        out += {static_cast<char>(0xE0 | (code >> 12)), continuation(6), continuation(0)};
    } else {
        out += {static_cast<char>(0xF0 | (code >> 18)), continuation(12), continuation(6), continuation(0)};
    }
}

bool is_high_surrogate(std::uint32_t code) {
    return code >= 0xD800 && code < 0xDC00;
}
bool is_low_surrogate(std::uint32_t code) {
    return code >= 0xDC00 && code < 0xE000;
}

// The four digits after `\u` at the beginning of `text`; nothing when there is no such escape.
constexpr std::uint32_t no_escape = 0xFFFFFFFF;
std::uint32_t unicode_escape(std::string_view text) {
    if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return no_escape;
    std::uint32_t code = 0;
    auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, code, 16);
    return error == std::errc{} && end == text.data() + 6 ? code : no_escape;
}

// Appends what the escape at the beginning of `text` stands for, and says how long it is.
std::size_t resolve_escape(std::string_view text, std::string& out) {
    if (std::uint32_t code = unicode_escape(text); code != no_escape) {
        std::uint32_t low = is_high_surrogate(code) ? unicode_escape(text.substr(6)) : no_escape;
        if (low != no_escape && is_low_surrogate(low)) {
            append_character(out, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00));
            return 12;
        }
        append_character(out, is_high_surrogate(code) || is_low_surrogate(code) ? 0xFFFD : code);
        return 6;
    }
    constexpr std::string_view names = "bfnrt", characters = "\b\f\n\r\t";
    char name = text.size() > 1 ? text[1] : '\\';
    std::size_t i = names.find(name);
    out += i == names.npos ? name : characters[i];
    return 2;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
    if (text.empty()) return 0;
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (byte(0) < 0x80) return 1;
    Second second = second_byte(byte(0));
    if (second.length == 0 || text.size() < second.length) return 0;
    if (byte(1) < second.low || byte(1) > second.high) return 0;
    for (std::size_t i = 2; i < second.length; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
    }
    return second.length;
}

bool is_utf8(std::string_view text) {
    for (text.remove_prefix(ascii_length(text)); !text.empty(); text.remove_prefix(ascii_length(text))) {
        std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

bool is_storable(std::string_view text) {
    return text.find('\0') == text.npos && is_utf8(text);
}

std::string storable_text(std::string_view text) {
    if (is_storable(text)) return std::string(text);
    std::string stored;
    stored.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        std::size_t length = text[i] == '\0' ? 0 : utf8_length(text.substr(i));
        stored += length ? text.substr(i, length) : replacement_character;
        i += length ? length : 1;
    }
    return stored;
}

std::string unescape(std::string_view between_quotes) {
    std::string text;
    text.reserve(between_quotes.size());
    while (!between_quotes.empty()) {
        std::size_t plain = std::min(between_quotes.find('\\'), between_quotes.size());
        text += between_quotes.substr(0, plain);
        between_quotes.remove_prefix(plain);
        if (between_quotes.empty()) break;
        between_quotes.remove_prefix(std::min(resolve_escape(between_quotes, text), between_quotes.size()));
    }
    return text;
}

}  // namespace matrix_sync
