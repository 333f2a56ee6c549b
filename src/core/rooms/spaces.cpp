#include "core/rooms/spaces.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "core/classic/answer.hpp"

namespace matrix_sync {

namespace {

constexpr const char* kChild = "m.space.child";

using Places = std::map<RoomId, std::tuple<std::optional<std::string>, std::int64_t>>;

Places places_in(const SpaceState& space) {
    Places places;
    for (const SpaceChild& child : space.children) places.emplace(child.room, std::tuple(child.order, child.origin_server_ts));
    return places;
}

/// Rooms that are not in both, or not at the same place.
std::set<RoomId> difference(const Places& before, const Places& now) {
    std::set<RoomId> rooms;
    for (const auto& [room, place] : before) {
        auto found = now.find(room);
        if (found == now.end() || found->second != place) rooms.insert(room);
    }
    for (const auto& [room, place] : now) {
        if (!before.contains(room)) rooms.insert(room);
    }
    return rooms;
}

}  // namespace

Task<SpaceState> read_space(Reading& reading, StateKey state) {
    SpaceState space;
    RoomCache::StatePtr names = co_await reading.cache.state(state);
    std::map<EventRef, RoomId> rooms;
    std::vector<EventRef> refs;
    const StateName first{kChild, ""};
    for (auto name = names->lower_bound(first); name != names->end() && name->first.type == kChild; ++name) {
        rooms.emplace(name->second, RoomId(name->first.key));
        refs.push_back(name->second);
    }
    if (refs.empty()) co_return space;
    std::map<EventRef, RoomCache::EventPtr> events = co_await reading.device.read_events(std::move(refs));
    for (auto& [ref, event] : events) {
        RoomId& room = rooms.at(ref);
        auto child = read_space_child(event->body, room.value);
        if (child) {
            space.children.push_back(std::move(*child));
        } else {
            space.dropped.push_back(std::move(room));
        }
    }
    std::ranges::sort(space.children, before);
    co_return space;
}

Task<std::map<RoomId, Position>> space_changes(Reading& reading, RoomRow space, Position after) {
    std::map<RoomId, Position> changed;
    if (std::max({space.state_changed, space.members, space.entered}) <= after) co_return changed;
    const Position to = std::max(reading.device.end(), space.seq);
    std::vector<Entry> entries = co_await reading.device.read_entries(space.key, after, to);
    std::optional<Entry> start = co_await reading.store.newest(reading.device.key, space.key, after);
    bool joined = start && start->section == Section::join;
    Places places;
    if (joined) {
        SpaceState then = co_await read_space(reading, start->state);
        places = places_in(then);
    }
    for (const Entry& entry : entries) {
        const bool joins = entry.section == Section::join;
        if (joins == joined && !(joins && (entry.state_changed || entry.redacts))) continue;
        joined = joins;
        SpaceState now;
        if (joined) now = co_await read_space(reading, entry.state);
        Places at = places_in(now);
        for (const RoomId& room : difference(places, at)) changed[room] = entry.seq;
        // What was redacted is so in the earlier set, too.
        if (entry.redacts) {
            for (const RoomId& room : now.dropped) changed[room] = entry.seq;
        }
        places = std::move(at);
    }
    co_return changed;
}

}  // namespace matrix_sync
