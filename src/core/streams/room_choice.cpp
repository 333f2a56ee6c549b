#include "core/streams/room_choice.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "core/classic/answer.hpp"

namespace matrix_sync {

Task<void> RoomChoice::prepare(std::optional<Position> after) {
    Device& device = reading_.device;
    ignored_ = co_await device.ignored_users();
    // Each wait may have let something change that was ready before.
    for (;;) {
        co_await device.load_rooms();
        RoomViews::Behind behind = device.views().look(device.user, terms_.names());
        const bool unnamed = !behind.names.empty();
        if (unnamed) co_await device.views().name(reading_, std::move(behind.names));
        if (unnamed || behind.looks) {
            co_await loop_pause(reading_.loop);
            continue;
        }
        const bool loaded = co_await load_spaces(after);
        if (!loaded) co_return;
    }
}

/// Says whether there was something to load.
Task<bool> RoomChoice::load_spaces(std::optional<Position> after) {
    bool loaded = false;
    for (const RoomId& id : terms_.spaces) {
        const RoomRow* kept = reading_.device.kept_room(id);
        if (!kept) {
            spaces_.erase(id);
            continue;
        }
        auto known = spaces_.find(id);
        if (known != spaces_.end() && known->second.seq == kept->seq) continue;
        const RoomRow row = *kept;
        Space space;
        space.seq = row.seq;
        space.children = co_await reading_.device.views().children(reading_, row);
        if (after) space.changed = co_await space_changes(reading_, row, *after);
        spaces_[id] = std::move(space);
        loaded = true;
    }
    co_return loaded;
}

/// Of every room that the spaces list; a room in two counts at the first.
RoomChoice::Places RoomChoice::places() const {
    Places places;
    for (const RoomId& id : terms_.spaces) {
        auto space = spaces_.find(id);
        if (space == spaces_.end()) continue;
        for (const SpaceChild& child : *space->second.children) places.emplace(child.room.value, places.size());
    }
    return places;
}

Position RoomChoice::changed_in_spaces(const RoomId& room) const {
    Position newest;
    for (const auto& [id, space] : spaces_) {
        auto changed = space.changed.find(room);
        if (changed != space.changed.end()) newest = std::max(newest, changed->second);
    }
    return newest;
}

/// What one entry of a space changed; nothing else changes several rooms at one place. Later entries take rooms away and add none: so many
/// of the last ones hold at least those that they held before.
std::set<RoomId> RoomChoice::changed_at(Position place) const {
    std::set<RoomId> rooms;
    for (const auto& [id, space] : spaces_) {
        for (const auto& [room, at] : space.changed) {
            if (at != place) continue;
            rooms.insert(room);
            rooms.insert(id);
        }
    }
    return rooms;
}

/// An invite, declined or not, of somebody who is ignored.
bool RoomChoice::hidden(const ListedRoom& room) const {
    const UserId& inviter = room.look->inviter;
    return !inviter.empty() && ignored_->contains(inviter.value);
}

bool RoomChoice::shows(const ListedRoom& room) const {
    return room.row->section != Section::leave && !hidden(room) && matches(terms_.filters, room);
}

std::vector<ListedRoom> RoomChoice::in_order() const {
    RoomViews& views = reading_.device.views();
    std::vector<ListedRoom> rooms;
    if (terms_.spaces.empty()) {
        const std::vector<ListedRoom>& all = views.in_order(terms_.sorts);
        rooms.reserve(all.size());
        std::ranges::copy_if(all, std::back_inserter(rooms), [this](const ListedRoom& room) { return shows(room); });
        return rooms;
    }
    for (const auto& [id, place] : places()) {
        const RoomRow* row = reading_.device.kept_room(RoomId{std::string(id)});
        if (!row) continue;
        ListedRoom room = views.listed(*row);
        room.place = place;
        if (shows(room)) rooms.push_back(room);
    }
    sort_rooms(rooms, terms_.sorts);
    return rooms;
}

std::optional<ListChange> RoomChoice::change(const RoomRow& row, bool in_spaces, Position after) const {
    ListChange change;
    change.room = row.room;
    const ListedRoom room = reading_.device.views().listed(row);
    const Position looked = std::max(looked_at(terms_.filters, room), changed_in_spaces(row.room));
    const bool match = in_spaces && matches(terms_.filters, room);
    if (hidden(room)) {
        // It goes when its sender is ignored.
        change.kind = ListChange::Kind::unlisted;
        if (row.section != Section::leave && row.entered <= after) change.at = row.listed;
    } else if (row.section == Section::leave) {
        change.kind = ListChange::Kind::left;
        change.at = match ? row.entered : std::min(row.entered, looked);
    } else if (match) {
        change.at = std::max(row.listed, looked);
    } else {
        change.kind = row.entered > after ? ListChange::Kind::entered : ListChange::Kind::unlisted;
        change.at = looked;
    }
    if (change.at <= after) return std::nullopt;
    return change;
}

/// Those of which a list may have something to say.
std::set<const RoomRow*> RoomChoice::changed_after(Position after) const {
    const std::vector<const RoomRow*> rows = reading_.device.rooms_after(after);
    std::set<const RoomRow*> rooms(rows.begin(), rows.end());
    for (const auto& [id, space] : spaces_) {
        for (const auto& [room, at] : space.changed) {
            const RoomRow* row = at > after ? reading_.device.kept_room(room) : nullptr;
            if (row) rooms.insert(row);
        }
    }
    return rooms;
}

std::vector<ListChange> RoomChoice::changes(const Cursor& cursor, std::size_t most) const {
    std::vector<std::pair<ListChange, const RoomRow*>> found;
    const bool all = terms_.spaces.empty();
    const Places places = this->places();
    for (const RoomRow* row : changed_after(cursor.at)) {
        std::optional<ListChange> one = change(*row, all || places.contains(row->room.value), cursor.at);
        if (one) found.emplace_back(std::move(*one), row);
    }
    std::ranges::sort(found, {}, [](const auto& one) { return std::tie(one.first.at, one.first.room); });
    if (cursor.within > 0) {
        const Position place{cursor.at.value + 1};
        const std::set<RoomId> together = changed_at(place);
        const auto sent = std::max<std::ptrdiff_t>(0, std::ssize(together) - cursor.within);
        auto first = std::next(together.begin(), sent);
        std::erase_if(found, [&](const auto& one) { return one.first.at == place && first != together.end() && one.first.room < *first; });
    }
    std::vector<ListChange> changes;
    std::size_t certain = 0;
    for (auto& [change, row] : found) {
        if (certain < most) change.row = *row;
        if (change.certain()) ++certain;
        changes.push_back(std::move(change));
    }
    return changes;
}

Cursor RoomChoice::after(const std::vector<ListChange>& changes, std::size_t done, const Cursor& before, Position end) const {
    end = std::max(end, before.at);
    if (done == changes.size()) return {end};
    const Position last = changes[done - 1].at;
    // Rooms may be ahead of what memory knows of the log: they come again, and so does what it does not know.
    if (last > end) return {end};
    if (changes[done].at > last) return {last};
    const std::set<RoomId> together = changed_at(last);
    const auto left = std::distance(together.upper_bound(changes[done - 1].room), together.end());
    return {Position{last.value - 1}, static_cast<std::int32_t>(left)};
}

}  // namespace matrix_sync
