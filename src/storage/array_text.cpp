#include "storage/array_text.hpp"

namespace matrix_sync {

namespace {

std::string element(EventRef ref) {
    return std::to_string(ref.value);
}

std::string element(const std::string& text) {
    std::string quoted = "\"";
    for (char each : text) {
        if (each == '"' || each == '\\') quoted += '\\';
        quoted += each;
    }
    return quoted + '"';
}

std::string element(const std::optional<std::string>& text) {
    return text ? element(*text) : "NULL";
}

template <class Elements>
std::string text_of(const Elements& elements) {
    std::string text = "{";
    for (const auto& each : elements) {
        if (text.size() > 1) text += ',';
        text += element(each);
    }
    return text + '}';
}

}  // namespace

std::string array_text(const std::vector<EventRef>& refs) {
    return text_of(refs);
}

std::string array_text(const std::vector<std::string>& texts) {
    return text_of(texts);
}

std::string array_text(const std::vector<std::optional<std::string>>& texts) {
    return text_of(texts);
}

}  // namespace matrix_sync
