#include "core/matrix/power_levels.hpp"

#include <algorithm>

#include "core/matrix/content.hpp"

namespace matrix_sync {

namespace {

bool is_number(std::string_view version) {
    return !version.empty() && std::all_of(version.begin(), version.end(), [](char digit) { return digit >= '0' && digit <= '9'; });
}

// What is no number is an experiment, made of a version of its time: only version 12's own one has such creators for certain.
bool creators_above_all(std::string_view version) {
    if (!is_number(version)) return version == "org.matrix.hydra.11";
    return clamped_integer(version) >= 12;
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view space = " \t\n\v\f\r";
    std::size_t begin = std::min(text.find_first_not_of(space), text.size());
    return text.substr(begin, text.find_last_not_of(space) + 1 - begin);
}

// Room versions before 10 take strings for integers: space around them, a sign of either kind, and leading zeros.
std::optional<std::int64_t> level_in(std::string_view text) {
    text = trimmed(text);
    std::string_view digits = text.starts_with('+') || text.starts_with('-') ? text.substr(1) : text;
    if (!is_number(digits)) return std::nullopt;
    return clamped_integer(text.starts_with('+') ? digits : text);
}

std::optional<std::int64_t> level(JsonValue value) {
    if (auto text = json_text(value)) return level_in(*text);
    return json_integer(value);
}

std::string creator_of(const CreateContent& create, std::string_view version) {
    bool named_in_content = is_number(version) && clamped_integer(version) < 11;
    return named_in_content ? create.creator.value_or(create.sender) : create.sender;
}

}  // namespace

PowerLevels::PowerLevels(std::optional<std::string_view> power_levels_event, std::optional<std::string_view> create_event,
                         std::string_view room_version) {
    CreateContent create = read_create(create_event.value_or(""));
    if (power_levels_event) {
        JsonValue content = event_content(*power_levels_event);
        default_level_ = level(json_member(content, "users_default")).value_or(0);
        for (const auto& [user, value] : json_members(json_member(content, "users"))) {
            if (auto power = level(value)) {
                named_.insert_or_assign(user, *power);
            } else {
                named_.erase(user);
            }
        }
    } else {
        named_.emplace(creator_of(create, room_version), 100);
    }
    if (creators_above_all(room_version)) {
        named_.insert_or_assign(create.sender, creator_power);
        for (const auto& creator : create.additional_creators) named_.insert_or_assign(creator, creator_power);
    }
    named_.erase("");
}

std::int64_t PowerLevels::of(std::string_view user_id) const {
    auto found = named_.find(user_id);
    return found == named_.end() ? default_level_ : found->second;
}

}  // namespace matrix_sync
