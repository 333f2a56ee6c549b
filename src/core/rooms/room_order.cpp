#include "core/rooms/room_order.hpp"

#include <algorithm>
#include <array>
#include <compare>
#include <utility>

#include "core/classic/answer.hpp"
#include "core/matrix/content.hpp"
#include "core/rooms/stripped.hpp"

namespace matrix_sync {

namespace {

constexpr std::array<std::string_view, 5> kSortNames = {"by_recency", "by_name", "by_highlight_count", "by_notification_count",
                                                        "by_space_order"};

void add_counts(RoomLook& look, JsonValue counts) {
    look.highlights += json_integer(json_member(counts, "highlight_count")).value_or(0);
    look.notifications += json_integer(json_member(counts, "notification_count")).value_or(0);
}

std::strong_ordering compare(RoomSort sort, const ListedRoom& one, const ListedRoom& other) {
    switch (sort) {
        case RoomSort::by_recency:
            return other.row->timestamp <=> one.row->timestamp;
        case RoomSort::by_name:
            return one.sort_name <=> other.sort_name;
        case RoomSort::by_highlight_count:
            return other.look->highlights <=> one.look->highlights;
        case RoomSort::by_notification_count:
            return other.look->notifications <=> one.look->notifications;
        case RoomSort::by_space_order:
            return one.place <=> other.place;
    }
    return std::strong_ordering::equal;
}

/// In the order of signed numbers, downwards.
std::uint64_t downwards(std::int64_t number) {
    return ~(static_cast<std::uint64_t>(number) ^ (std::uint64_t{1} << 63));
}

/// The beginning of a text, in the order of bytes.
std::uint64_t beginning(std::string_view text) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < sizeof number; ++i) number = number << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0u);
    return number;
}

/// Of two rooms with different numbers, the one with the smaller comes first.
std::uint64_t number_of(RoomSort sort, const ListedRoom& room) {
    switch (sort) {
        case RoomSort::by_recency:
            return downwards(room.row->timestamp);
        case RoomSort::by_name:
            return beginning(room.sort_name);
        case RoomSort::by_highlight_count:
            return downwards(room.look->highlights);
        case RoomSort::by_notification_count:
            return downwards(room.look->notifications);
        case RoomSort::by_space_order:
            return room.place;
    }
    return 0;
}

bool comes_before(const ListedRoom& one, const ListedRoom& other, const std::vector<RoomSort>& by) {
    for (RoomSort sort : by) {
        auto order = compare(sort, one, other);
        if (order != 0) return order < 0;
    }
    return one.row->room < other.row->room;
}

bool any_of(const std::set<std::string>& wanted, const std::set<std::string>& texts) {
    return std::ranges::any_of(texts, [&](const std::string& text) { return wanted.contains(text); });
}

bool is_no(const std::optional<bool>& wanted, bool is) {
    return wanted && *wanted != is;
}

}  // namespace

bool is_stripped(const RoomRow& row) {
    if (row.section == Section::leave) return !row.state && !row.stripped.empty();
    return row.section != Section::join;
}

RoomLook look_at(const RoomRow& row, const UserId& user) {
    RoomLook look;
    look.type = row.type;
    look.encrypted = static_cast<bool>(row.heads.encryption);
    if (is_stripped(row)) {
        Stripped room = read_stripped(row.stripped, user);
        look.type = room.type.value_or("");
        look.encrypted = room.encrypted;
        look.inviter = std::move(room.inviter);
    }
    add_counts(look, row.notifications);
    for (const auto& [thread, counts] : json_members(row.thread_notifications)) add_counts(look, counts);
    for (auto& [tag, content] : json_members(row.tags)) {
        if (content.starts_with('{')) look.tags.insert(std::move(tag));
    }
    return look;
}

std::optional<RoomSort> read_room_sort(std::string_view name) {
    auto found = std::ranges::find(kSortNames, name);
    if (found == kSortNames.end()) return std::nullopt;
    return static_cast<RoomSort>(found - kSortNames.begin());
}

std::string_view name_of(RoomSort sort) {
    return kSortNames[static_cast<std::size_t>(sort)];
}

void sort_rooms(std::vector<ListedRoom>& rooms, const std::vector<RoomSort>& by) {
    // Nearly all comparisons end with a number that lies beside the room, and need not go to see it.
    std::vector<std::pair<std::uint64_t, ListedRoom>> numbered;
    numbered.reserve(rooms.size());
    for (const ListedRoom& room : rooms) numbered.emplace_back(number_of(by.front(), room), room);
    std::sort(numbered.begin(), numbered.end(), [&](const auto& one, const auto& other) {
        return one.first != other.first ? one.first < other.first : comes_before(one.second, other.second, by);
    });
    std::ranges::transform(numbered, rooms.begin(), &std::pair<std::uint64_t, ListedRoom>::second);
}

void insert_room(std::vector<ListedRoom>& rooms, const ListedRoom& room, const std::vector<RoomSort>& by) {
    auto before = [&](const ListedRoom& one, const ListedRoom& other) { return comes_before(one, other, by); };
    rooms.insert(std::upper_bound(rooms.begin(), rooms.end(), room, before), room);
}

bool matches(const RoomFilters& filters, const ListedRoom& room) {
    const RoomLook& look = *room.look;
    if (is_no(filters.is_dm, room.row->direct) || is_no(filters.is_encrypted, look.encrypted)) return false;
    if (filters.room_types && !filters.room_types->contains(look.type)) return false;
    if (filters.not_room_types && filters.not_room_types->contains(look.type)) return false;
    if (filters.tags && !any_of(*filters.tags, look.tags)) return false;
    if (filters.not_tags && any_of(*filters.not_tags, look.tags)) return false;
    if (room.row->section == Section::leave) return true;
    if (is_no(filters.is_invite, room.row->section == Section::invite)) return false;
    return !filters.room_name_like || room.sort_name.find(*filters.room_name_like) != room.sort_name.npos;
}

Position looked_at(const RoomFilters& filters, const ListedRoom& room) {
    const RoomRow& row = *room.row;
    Position newest;
    auto looks = [&](bool at, Position change) {
        if (at) newest = std::max(newest, change);
    };
    const bool state = filters.is_encrypted || filters.room_types || filters.not_room_types || filters.room_name_like;
    looks(filters.is_dm.has_value(), row.direct_changed);
    looks(filters.is_invite.has_value(), row.entered);
    looks(filters.tags || filters.not_tags, row.tags_changed);
    looks(state, is_stripped(row) ? row.listed : row.state_changed);
    looks(filters.room_name_like && !room.named, std::max(row.summary_changed, row.members));
    return newest;
}

}  // namespace matrix_sync
