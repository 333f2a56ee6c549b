// Which rooms a list shows, and in which order: api.md, room_list. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// Whether all that is known of the room is its stripped state: an invite, a knock, or one that has been declined or taken back.
bool is_stripped(const RoomRow& row);

/// What sorts and filters look at beside the row itself, read from the row alone.
struct RoomLook {
    std::string type;
    bool encrypted = false;
    UserId inviter;                  ///< of an invite, declined or not, when it is said
    std::int64_t highlights = 0;     ///< threads added in
    std::int64_t notifications = 0;  ///< likewise
    std::set<std::string> tags;
};
RoomLook look_at(const RoomRow& row, const UserId& user);

/// A room while it is chosen and sorted: it points to what is kept of it.
struct ListedRoom {
    const RoomRow* row = nullptr;
    const RoomLook* look = nullptr;
    std::string_view sort_name;  ///< casefolded; only where names are looked at
    bool named = false;          ///< that name is the state's own, and no list of members
    std::size_t place = 0;       ///< in the order of spaces
};

enum class RoomSort { by_recency, by_name, by_highlight_count, by_notification_count, by_space_order };
std::optional<RoomSort> read_room_sort(std::string_view name);
std::string_view name_of(RoomSort sort);

/// By the first sort, of which there is one at least; those that it puts in one place by the next; at last by room ID.
void sort_rooms(std::vector<ListedRoom>& rooms, const std::vector<RoomSort>& by);
/// Puts one where it belongs among those that are sorted.
void insert_room(std::vector<ListedRoom>& rooms, const ListedRoom& room, const std::vector<RoomSort>& by);

/// With the meaning that MSC3575 gave them: a room has to pass every one that is there, `not_…` outweighs the other.
struct RoomFilters {
    using Texts = std::optional<std::set<std::string>>;

    std::optional<bool> is_dm;
    std::optional<bool> is_encrypted;
    std::optional<bool> is_invite;
    Texts room_types;  ///< the empty one stands for rooms without a type
    Texts not_room_types;
    Texts tags;  ///< any of them
    Texts not_tags;
    std::optional<std::string> room_name_like;  ///< casefolded; anywhere in the name
};

/// A room that was left passes the filters by what it was, whatever its membership and name.
bool matches(const RoomFilters& filters, const ListedRoom& room);
/// Where something last changed that the filters look at; never too early.
Position looked_at(const RoomFilters& filters, const ListedRoom& room);

}  // namespace matrix_sync
