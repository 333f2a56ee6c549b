#include "core/json/writer.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/json/text.hpp"

namespace matrix_sync {

namespace {

void append_escape(std::string& out, unsigned char c) {
    static constexpr char hex[] = "0123456789abcdef";
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            out.append("\\u00").append(1, hex[c >> 4]).append(1, hex[c & 15]);
    }
}

/// Stands for itself in a JSON string.
constexpr std::array<bool, 256> plain = [] {
    std::array<bool, 256> plain{};
    for (std::size_t c = 0x20; c < 0x80; ++c) plain[c] = c != '"' && c != '\\';
    return plain;
}();

bool is_plain(char c) {
    return plain[static_cast<unsigned char>(c)];
}

}  // namespace

void append_json_string(std::string& out, std::string_view value) {
    out += '"';
    while (!value.empty()) {
        const auto* end = std::ranges::find_if_not(value, is_plain);
        out.append(value.begin(), end);
        value.remove_prefix(static_cast<std::size_t>(end - value.begin()));
        if (value.empty()) break;
        std::size_t length = 1;
        if (static_cast<unsigned char>(value.front()) < 0x80) {
            append_escape(out, static_cast<unsigned char>(value.front()));
        } else if (std::size_t utf8 = utf8_length(value)) {
            length = utf8;
            out.append(value.substr(0, length));
        } else {
            out += replacement_character;
        }
        value.remove_prefix(length);
    }
    out += '"';
}

JsonWriter& JsonWriter::key(std::string_view name) {
    separate();
    append_json_string(out_, name);
    out_ += ':';
    comma_ = false;
    return *this;
}

JsonWriter& JsonWriter::string(std::string_view value) {
    separate();
    append_json_string(out_, value);
    return *this;
}

JsonWriter& JsonWriter::number(std::int64_t value) {
    char digits[24];
    return raw({digits, std::to_chars(digits, digits + sizeof digits, value).ptr});
}

JsonWriter& JsonWriter::raw(std::string_view json) {
    separate();
    out_ += json;
    return *this;
}

std::string JsonWriter::take() {
    comma_ = false;
    std::string text;
    text.swap(out_);
    return text;
}

JsonWriter& JsonWriter::open(char bracket) {
    separate();
    out_ += bracket;
    comma_ = false;
    return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
    out_ += bracket;
    comma_ = true;
    return *this;
}

void JsonWriter::separate() {
    if (comma_) out_ += ',';
    comma_ = true;
}

}  // namespace matrix_sync
