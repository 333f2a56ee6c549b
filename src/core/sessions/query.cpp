#include "core/sessions/query.hpp"

#include <limits>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        bool escape = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
        if (escape) {
            out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
            i += 2;
        } else {
            out.push_back(text[i] == '+' ? ' ' : text[i]);
        }
    }
    return out;
}

Milliseconds timeout(const std::string& text) {
    bool digits = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
    if (!digits) throw MatrixError(400, "M_INVALID_PARAM", "timeout: expected a non-negative integer");
    std::int64_t value = 0;
    auto error = std::from_chars(text.data(), text.data() + text.size(), value).ec;
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    return Milliseconds(error == std::errc{} ? std::min(value, most) : most);
}

}  // namespace

RequestQuery parse_query(std::string_view query) {
    RequestQuery parsed;
    Words parameters(query, '&');
    while (!parameters.empty()) {
        Words parameter(parameters.next(), '=');
        std::string name = decoded(parameter.next());
        if (name == "since") parsed.since = decoded(parameter.rest());
        if (name == "timeout") parsed.timeout = timeout(decoded(parameter.rest()));
    }
    return parsed;
}

}  // namespace matrix_sync
