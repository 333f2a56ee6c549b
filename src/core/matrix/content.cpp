#include "core/matrix/content.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>

#include "core/json/cursor.hpp"

namespace matrix_sync {

namespace {

bool is_kind(JsonValue value, JsonKind kind) {
    return value && !value->empty() && JsonCursor(*value).kind() == kind;
}

// What `read` makes of the value, as far as it got if that is no JSON after all.
template <class Read>
void read_value(JsonValue value, JsonKind kind, Read&& read) {
    try {
        if (!is_kind(value, kind)) return;
        JsonCursor cursor(*value);
        read(cursor);
    } catch (const JsonError&) {
    }
}

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

// from_chars also reads infinities and what is no number.
bool begins_as_number(std::string_view text) {
    if (text.starts_with('-')) text.remove_prefix(1);
    return !text.empty() && is_digit(text[0]);
}

std::optional<std::int64_t> truncated(std::string_view number) {
    double value = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || end != number.data() + number.size()) return std::nullopt;
    constexpr auto limit = static_cast<double>(largest_json_integer);
    return static_cast<std::int64_t>(std::clamp(value, -limit, limit));
}

}  // namespace

JsonValue json_member(JsonValue object, std::string_view name) {
    JsonValue found;
    read_value(object, JsonKind::object, [&](JsonCursor& cursor) {
        cursor.object("object", [&](std::string_view member, JsonCursor& value) {
            if (member == name) found = value.skip();
        });
    });
    return found;
}

JsonValue event_content(std::string_view event) {
    return json_member(event, "content");
}

std::optional<std::string> json_text(JsonValue value) {
    std::optional<std::string> text;
    read_value(value, JsonKind::string, [&](JsonCursor& cursor) { text = cursor.text("string"); });
    return text;
}

std::optional<std::int64_t> clamped_integer(std::string_view number) {
    if (!begins_as_number(number)) return std::nullopt;
    std::int64_t value = 0;
    const char* last = number.data() + number.size();
    auto [end, error] = std::from_chars(number.data(), last, value);
    if (end != last) return truncated(number);
    if (error == std::errc::result_out_of_range) value = number[0] == '-' ? -largest_json_integer : largest_json_integer;
    return std::clamp(value, -largest_json_integer, largest_json_integer);
}

std::optional<std::int64_t> json_integer(JsonValue value) {
    std::optional<std::int64_t> integer;
    read_value(value, JsonKind::number, [&](JsonCursor& cursor) { integer = clamped_integer(cursor.skip()); });
    return integer;
}

bool json_is_true(JsonValue value) {
    return value == "true";
}

JsonTexts json_texts(JsonValue array) {
    JsonTexts all;
    read_value(array, JsonKind::array, [&](JsonCursor& cursor) {
        cursor.array("array", [&](JsonCursor& element) {
            ++all.elements;
            if (element.kind() == JsonKind::string) all.texts.push_back(element.text("string"));
        });
    });
    return all;
}

std::vector<std::pair<std::string, std::string_view>> json_members(JsonValue object) {
    std::vector<std::pair<std::string, std::string_view>> members;
    read_value(object, JsonKind::object, [&](JsonCursor& cursor) {
        cursor.object("object", [&](std::string_view name, JsonCursor& value) {
            std::string stored = storable_text(name);
            members.emplace_back(std::move(stored), value.skip());
        });
    });
    return members;
}

std::optional<std::string> content_string(std::string_view event, std::string_view key) {
    return json_text(json_member(event_content(event), key));
}

MemberContent read_member(std::string_view event) {
    JsonValue content = event_content(event);
    MemberContent member;
    member.membership = json_text(json_member(content, "membership")).value_or("");
    member.displayname = json_text(json_member(content, "displayname"));
    member.avatar_url = json_text(json_member(content, "avatar_url"));
    member.is_direct = json_is_true(json_member(content, "is_direct"));
    return member;
}

CreateContent read_create(std::string_view event) {
    JsonValue content = event_content(event);
    CreateContent create;
    create.sender = json_text(json_member(event, "sender")).value_or("");
    create.creator = json_text(json_member(content, "creator"));
    create.type = json_text(json_member(content, "type"));
    create.room_version = json_text(json_member(content, "room_version")).value_or("1");
    create.additional_creators = json_texts(json_member(content, "additional_creators")).texts;
    return create;
}

std::optional<std::string> read_canonical_alias(std::string_view event) {
    auto alias = content_string(event, "alias");
    if (alias && alias->starts_with('#') && alias->find(':') != alias->npos) return alias;
    return std::nullopt;
}

std::set<std::string> read_tags(std::string_view event) {
    std::set<std::string> tags;
    for (auto& [name, tag] : json_members(json_member(event_content(event), "tags"))) {
        if (is_kind(tag, JsonKind::object)) {
            tags.insert(std::move(name));
        } else {
            tags.erase(name);
        }
    }
    return tags;
}

bool read_marked_unread(std::string_view event) {
    return json_is_true(json_member(event_content(event), "unread"));
}

std::set<RoomId> read_direct_rooms(std::string_view event) {
    std::map<std::string, std::string_view> by_user;
    for (auto& [user, rooms] : json_members(event_content(event))) by_user.insert_or_assign(std::move(user), rooms);
    std::set<RoomId> all;
    for (const auto& [user, rooms] : by_user) {
        for (auto& room : json_texts(rooms).texts) all.insert(RoomId(std::move(room)));
    }
    return all;
}

std::set<UserId> read_ignored_users(std::string_view event) {
    std::set<UserId> users;
    for (auto& [user, value] : json_members(json_member(event_content(event), "ignored_users"))) users.insert(UserId(std::move(user)));
    return users;
}

SummaryContent read_summary(std::string_view summary) {
    auto count = [&](std::string_view name) {
        auto number = json_integer(json_member(summary, name));
        return number && *number >= 0 ? number : std::nullopt;
    };
    SummaryContent content;
    content.joined_count = count("m.joined_member_count");
    content.invited_count = count("m.invited_member_count");
    JsonValue heroes = json_member(summary, "m.heroes");
    if (!is_kind(heroes, JsonKind::array)) return content;
    content.heroes.emplace();
    for (auto& user : json_texts(heroes).texts) content.heroes->push_back(UserId(std::move(user)));
    return content;
}

}  // namespace matrix_sync
