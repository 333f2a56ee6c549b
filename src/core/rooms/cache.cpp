#include "core/rooms/cache.hpp"

#include <algorithm>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

/// Around the bytes that can be counted: nodes, pointers, allocations.
constexpr std::size_t kOverhead = 128;
/// Rooms whose last redaction is remembered.
constexpr std::size_t kMostRedacted = 50'000;

std::size_t bytes_of(const StoredEvent& event) {
    return sizeof event + kOverhead + event.event_id.value.size() + event.type.size() + event.sender.value.size() + event.body.size();
}

std::size_t bytes_of(const StateMap& state) {
    std::size_t bytes = kOverhead;
    for (const auto& [name, ref] : state) bytes += kOverhead + name.type.size() + name.key.size();
    return bytes;
}

std::size_t bytes_of(const std::map<std::string, Member>& members) {
    std::size_t bytes = kOverhead;
    for (const auto& [user, member] : members) bytes += sizeof member + kOverhead + 2 * user.size() + 2 * member.sort_name.size();
    return bytes;
}

}  // namespace

RoomCache::RoomCache(Loop& loop, RoomStore& store, CacheBudget& budget)
    : store_(store),
      event_reads_(loop, [this](std::vector<EventRef> refs) { return read_events(std::move(refs)); }),
      member_reads_(loop, [this](std::vector<MemberName> names) { return read_members(std::move(names)); }),
      events_(budget),
      states_(budget),
      members_(budget) {}

RoomCache::Moment RoomCache::begin() {
    forget_event_reads();
    member_reads_.forget();
    return changes_;
}

Task<std::map<EventRef, RoomCache::EventPtr>> RoomCache::events(std::vector<EventRef> refs, Moment since) {
    std::map<EventRef, EventPtr> found;
    std::vector<EventRef> missing;
    for (EventRef ref : refs) {
        const Cached<EventPtr>* kept = events_.get(ref);
        if (kept && kept->at >= since && is_current(*kept->value, kept->at)) {
            found.emplace(ref, kept->value);
        } else {
            missing.push_back(ref);
        }
    }
    used_events_.hits += found.size();
    used_events_.misses += missing.size();
    if (!missing.empty()) found.merge(co_await event_reads_.find(std::move(missing)));
    co_return found;
}

Task<std::map<EventRef, RoomCache::EventPtr>> RoomCache::read_events(std::vector<EventRef> refs) {
    const Moment at = moment();
    std::vector<StoredEvent> read = co_await store_.events(std::move(refs));
    std::map<EventRef, EventPtr> found;
    for (StoredEvent& event : read) {
        auto shared = std::make_shared<const StoredEvent>(std::move(event));
        put(shared, at);
        found.emplace(shared->ref, std::move(shared));
    }
    co_return found;
}

Task<RoomCache::StatePtr> RoomCache::state(StateKey key) {
    static const StatePtr none = std::make_shared<const StateMap>();
    if (!key) co_return none;
    StatePtr* kept = states_.get(key);
    ++(kept ? used_states_.hits : used_states_.misses);
    if (kept) co_return *kept;
    const Moment at = moment();
    std::vector<StateKey> keys = {key};
    std::map<StateKey, StateMap> read = co_await store_.states(std::move(keys));
    // Every set has the event that made the room. One that is gone is of a log that this worker has not followed for very long.
    if (read[key].empty()) throw StatementFailed("02000", "state set " + std::to_string(key.value) + " is gone");
    auto shared = std::make_shared<const StateMap>(std::move(read[key]));
    if (at >= cleared_) states_.put(key, shared, bytes_of(*shared));
    co_return shared;
}

Task<std::map<std::string, Member>> RoomCache::members(RoomKey room, std::vector<std::string> users, Moment since) {
    std::map<std::string, Member> found;
    std::vector<MemberName> missing;
    const RoomMembers* kept = kept_members(room, since);
    for (std::string& user : users) {
        auto member = kept ? kept->find(user) : decltype(kept->end()){};
        if (kept && member != kept->end()) {
            found.emplace(user, member->second);
        } else {
            missing.emplace_back(room, std::move(user));
        }
    }
    used_members_.hits += found.size();
    used_members_.misses += missing.size();
    if (missing.empty()) co_return found;
    const std::map<MemberName, Member> read = co_await member_reads_.find(std::move(missing));
    for (const auto& [name, member] : read) found.emplace(name.second, member);
    co_return found;
}

/// All of one room.
Task<std::map<RoomCache::MemberName, Member>> RoomCache::read_members(std::vector<MemberName> names) {
    const Moment at = moment();
    const std::uint64_t before = member_changes_;
    const RoomKey room = names.front().first;
    std::vector<std::pair<RoomKey, Member>> read = co_await store_.members_of(std::move(names));
    const Cached<RoomMembers>* kept = members_.get(room);
    Cached<RoomMembers> now = kept ? *kept : Cached<RoomMembers>{{}, at};
    now.at = std::min(now.at, at);
    std::map<MemberName, Member> found;
    for (auto& [of, member] : read) {
        now.value[member.user.value] = member;
        found.emplace(MemberName(of, member.user.value), std::move(member));
    }
    const std::size_t bytes = bytes_of(now.value);
    if (member_changes_ == before) members_.put(room, std::move(now), bytes);
    co_return found;
}

void RoomCache::report(Status& status) const {
    status.cached_events = {events_.bytes(), events_.size(), used_events_.hits, used_events_.misses};
    status.cached_states = {states_.bytes(), states_.size(), used_states_.hits, used_states_.misses};
    status.cached_members = {members_.bytes(), members_.size(), used_members_.hits, used_members_.misses};
}

const RoomCache::RoomMembers* RoomCache::kept_members(RoomKey room, Moment since) {
    const Cached<RoomMembers>* kept = members_.get(room);
    if (kept && kept->at >= since) return &kept->value;
    members_.erase(room);
    return nullptr;
}

void RoomCache::put(std::vector<StoredEvent> events, Moment at) {
    for (StoredEvent& event : events) put(std::make_shared<const StoredEvent>(std::move(event)), at);
}

void RoomCache::put(const EventPtr& event, Moment at) {
    if (is_current(*event, at)) events_.put(event->ref, Cached<EventPtr>{event, at}, bytes_of(*event));
}

bool RoomCache::is_current(const StoredEvent& event, Moment at) const {
    if (at < cleared_) return false;
    auto redacted = redacted_.find(event.room);
    return redacted == redacted_.end() || at >= redacted->second;
}

void RoomCache::redacted(const std::set<RoomKey>& rooms) {
    if (rooms.empty()) return;
    forget_event_reads();
    if (redacted_.size() > kMostRedacted) forget_events();
    for (RoomKey room : rooms) {
        redacted_[room] = changes_;
        members_changed(room);
    }
}

void RoomCache::members_changed(RoomKey room) {
    forget_member_reads();
    members_.erase(room);
}

void RoomCache::clear() {
    forget_event_reads();
    forget_member_reads();
    forget_events();
    states_.clear();
    members_.clear();
}

void RoomCache::forget_events() {
    cleared_ = changes_;
    events_.clear();
    redacted_.clear();
}

void RoomCache::forget_event_reads() {
    ++changes_;
    event_reads_.forget();
}

void RoomCache::forget_member_reads() {
    ++member_changes_;
    member_reads_.forget();
}

}  // namespace matrix_sync
