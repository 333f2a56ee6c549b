#include "core/json/writer.hpp"

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

}  // namespace

void append_json_string(std::string& out, std::string_view value) {
    out += '"';
    for (std::size_t i = 0; i < value.size();) {
        std::size_t start = i;
        while (i < value.size() && static_cast<unsigned char>(value[i]) - 0x20u < 0x60u && value[i] != '"' && value[i] != '\\') ++i;
        out.append(value.substr(start, i - start));
        if (i == value.size()) break;
        auto c = static_cast<unsigned char>(value[i]);
        if (c < 0x80) {
            append_escape(out, c);
            ++i;
        } else if (std::size_t length = utf8_length(value.substr(i))) {
            out.append(value.substr(i, length));
            i += length;
        } else {
            out += replacement_character;
            ++i;
        }
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
