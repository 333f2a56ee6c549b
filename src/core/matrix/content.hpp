// What events say, read from their JSON. Anybody can put anything into an event: what is missing, or of another type, is absent, and
// nothing here throws JsonError; text that no parser has accepted does no harm. Of members with the same name the last one counts. Strings,
// names of members included, are as storable_text() has them.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "matrix_sync/ids.hpp"

namespace matrix_sync {

/// A value as it stands in the JSON text, or none.
using JsonValue = std::optional<std::string_view>;

/// A member's value; none if `object` is something else than an object, or has no such member.
JsonValue json_member(JsonValue object, std::string_view name);
JsonValue event_content(std::string_view event);

std::optional<std::string> json_text(JsonValue value);
/// A number, truncated at the decimal point and brought into the range of canonical JSON, ±(2^53-1).
std::optional<std::int64_t> json_integer(JsonValue value);
/// The same for a decimal number that stands anywhere.
std::optional<std::int64_t> clamped_integer(std::string_view number);
bool json_is_true(JsonValue value);

inline constexpr std::int64_t largest_json_integer = (std::int64_t{1} << 53) - 1;

/// An array's strings and how many elements it has in all; neither for anything else.
struct JsonTexts {
    std::vector<std::string> texts;
    std::size_t elements = 0;
};
JsonTexts json_texts(JsonValue array);

/// Each member's name and value in their order, the same name maybe twice.
std::vector<std::pair<std::string, std::string_view>> json_members(JsonValue object);

// The following take a whole event, `{"type": …, "content": …}`, stripped or not.

/// A string of the event's content.
std::optional<std::string> content_string(std::string_view event, std::string_view key);

/// m.room.member
struct MemberContent {
    std::string membership;  ///< empty when absent
    std::optional<std::string> displayname, avatar_url;
    bool is_direct = false;
};
MemberContent read_member(std::string_view event);

/// m.room.create
struct CreateContent {
    std::string sender;                  ///< empty when absent
    std::optional<std::string> creator;  ///< the content's; room versions before 11 have it
    std::optional<std::string> type;     ///< `m.space`, or none for a usual room
    std::string room_version = "1";
    std::vector<std::string> additional_creators;
};
CreateContent read_create(std::string_view event);

/// m.room.canonical_alias: the alias, when it has an alias's form (`#localpart:server`).
std::optional<std::string> read_canonical_alias(std::string_view event);

/// m.tag: the names of the tags. What is no object is no tag.
std::set<std::string> read_tags(std::string_view event);

/// m.marked_unread
bool read_marked_unread(std::string_view event);

/// m.direct: the rooms, whoever they are with.
std::set<RoomId> read_direct_rooms(std::string_view event);

/// m.ignored_user_list. A user counts whatever stands beside the name: to ignore is what was wished for.
std::set<UserId> read_ignored_users(std::string_view event);

/// A room's `summary` in an answer of `GET /sync`, that object itself and no event. What is absent has not changed.
struct SummaryContent {
    std::optional<std::vector<UserId>> heroes;
    std::optional<std::int64_t> joined_count, invited_count;  ///< never negative
};
SummaryContent read_summary(std::string_view summary);

}  // namespace matrix_sync
