#include "core/devices/late_members.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "core/classic/parser.hpp"
#include "core/matrix/content.hpp"

namespace matrix_sync {

namespace {

constexpr std::size_t kMost = 6 * 1024 * 1024;
constexpr std::size_t kChunk = 256 * 1024;
/// Rooms with fewer state events are not worth it.
constexpr std::size_t kManyEvents = 100;

/// Whose member events are stored with the room: who made the timeline, or is in it, and whoever a room may be named after.
std::set<std::string> shown_users(const RoomPart& part, const std::vector<UserId>& heroes) {
    std::set<std::string> users;
    for (const UserId& hero : heroes) users.insert(hero.value);
    for (const Event& event : part.timeline) {
        users.insert(event.sender.value);
        if (event.state_key) users.insert(*event.state_key);
    }
    return users;
}

}  // namespace

Task<void> LateMembers::take(RoomPart& room, Slices& slices) {
    if (room.section != Section::join || room.state.size() < kManyEvents) co_return;
    const auto heroes = read_summary(room.summary).heroes;
    if (!heroes) co_return;
    std::set<std::string> shown = shown_users(room, *heroes);
    shown.insert(user_.value);
    std::vector<Event> kept;
    for (Event& event : room.state) {
        const std::size_t bytes = event.body.size();
        Event taken = std::move(event);
        if (taken.is_member() && !shown.contains(*taken.state_key)) {
            add(room.room, taken.body);
        } else {
            kept.push_back(std::move(taken));
        }
        if (slices.over(bytes / 2)) co_await slices.pause();
    }
    room.state = std::move(kept);
}

void LateMembers::add(const RoomId& room, const std::string& event) {
    const bool fits = !chunks_.empty() && chunks_.back().room == room && chunks_.back().events.size() + event.size() < kChunk;
    if (!fits) chunks_.push_back({room, ""});
    std::string& events = chunks_.back().events;
    const std::size_t before = events.size();
    if (before > 0) events += ',';
    events += event;
    bytes_ += events.size() - before;
}

bool LateMembers::full() const {
    return bytes_ > kMost;
}

std::vector<RoomMembers> LateMembers::next() {
    std::vector<RoomMembers> rooms;
    Slices none;
    for (std::size_t bytes = 0; !chunks_.empty() && (rooms.empty() || bytes + chunks_.front().events.size() < kChunk);) {
        Chunk chunk = std::move(chunks_.front());
        chunks_.pop_front();
        bytes += chunk.events.size();
        bytes_ -= chunk.events.size();
        std::string raw = R"({"state":{"events":[)" + chunk.events + "]}}";
        RoomPart part = at_once(parse_room(std::move(chunk.room), Section::join, std::move(raw), none));
        rooms.push_back({std::move(part.room), std::move(part.state)});
    }
    return rooms;
}

}  // namespace matrix_sync
