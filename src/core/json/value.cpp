#include "core/json/value.hpp"

#include <cmath>
#include <limits>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr int kMostDepth = 32;

MatrixError bad_json(const std::string& message) {
    return {400, "M_BAD_JSON", message};
}

}  // namespace

Json parse_body(std::string_view text) {
    if (text.find_first_not_of(" \t\r\n") == text.npos) return Json::object();
    auto limit = [](int depth, Json::parse_event_t event, Json&) {
        bool opens = event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        if (opens && depth >= kMostDepth) throw bad_json("the body is nested deeper than " + std::to_string(kMostDepth));
        return true;
    };
    Json body;
    try {
        body = Json::parse(text, limit);
    } catch (const Json::exception&) {
        throw MatrixError(400, "M_NOT_JSON", "the body is not JSON");
    }
    if (!body.is_object()) throw bad_json("the body: expected an object");
    return body;
}

Fields::Fields(const Json& value, std::string path) : object_(value), path_(std::move(path)) {
    if (!value.is_object()) throw bad_json(path_ + ": expected an object");
}

std::string Fields::required_string(const char* key) const {
    std::optional<std::string> value = text(key);
    if (!value) fail(key, "missing");
    return std::move(*value);
}

std::optional<std::string> Fields::text(const char* key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) fail(key, "expected a string");
    return value->get<std::string>();
}

std::optional<std::int64_t> Fields::integer(const char* key, std::int64_t least) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    // An integer beyond 64 bits is read as a floating point number.
    bool huge = value->is_number_float() && std::abs(value->get<double>()) >= static_cast<double>(most);
    bool unsigned_huge = value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(most);
    if (!value->is_number_integer() && !huge) fail(key, "expected an integer");
    std::int64_t number = huge && value->get<double>() < 0 ? least - 1 : huge || unsigned_huge ? most : value->get<std::int64_t>();
    if (number < least) fail(key, "expected at least " + std::to_string(least));
    return number;
}

std::optional<bool> Fields::boolean(const char* key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) fail(key, "expected a boolean");
    return value->get<bool>();
}

std::optional<std::vector<std::string>> Fields::strings(const char* key, std::size_t most) const {
    const Json* list = array(key);
    if (!list) return std::nullopt;
    if (list->size() > most) fail(key, "expected at most " + std::to_string(most));
    std::vector<std::string> strings;
    for (const Json& value : *list) {
        if (!value.is_string()) fail(key, "expected an array of strings");
        strings.push_back(value.get<std::string>());
    }
    return strings;
}

const Json* Fields::array(const char* key) const {
    const Json* value = find(key);
    if (value && !value->is_array()) fail(key, "expected an array");
    return value;
}

Fields Fields::object(const char* key) const {
    static const Json empty = Json::object();
    const Json* value = find(key);
    return {value ? *value : empty, path_ + "." + key};
}

const Json* Fields::find(const char* key) const {
    auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::fail(const char* key, std::string_view problem) const {
    throw bad_json(path_ + "." + key + ": " + std::string(problem));
}

}  // namespace matrix_sync
