// What one worker keeps in memory of rooms: events, state sets, and members that answers show. Only a redaction changes an event, and only
// a member event a member: whoever hears of one in a device's log says so here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/rooms/lru.hpp"
#include "core/rooms/shared_lookup.hpp"
#include "matrix_sync/rooms.hpp"
#include "matrix_sync/status.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

class RoomCache {
  public:
    RoomCache(Loop& loop, RoomStore& store, CacheBudget& budget);

    using EventPtr = std::shared_ptr<const StoredEvent>;
    using StatePtr = std::shared_ptr<const StateMap>;

    /// The cache's own time: it goes on where what was read before may be old.
    using Moment = std::uint64_t;
    Moment moment() const { return changes_; }
    /// A new moment: nothing that was read, or asked for, until now is as late.
    Moment begin();

    /// By ref, as they were at `since` or later. Those that do not exist are not in it.
    Task<std::map<EventRef, EventPtr>> events(std::vector<EventRef> refs, Moment since);
    /// Never null: empty when there is no such set.
    Task<StatePtr> state(StateKey key);
    /// Newest known at `since` or later; those that are not known are not in it.
    Task<std::map<std::string, Member>> members(RoomKey room, std::vector<std::string> users, Moment since);

    /// Events as they were at a moment or later: those are not kept in whose rooms something has been redacted since.
    void put(std::vector<StoredEvent> events, Moment at);

    /// Something in each of the rooms was redacted.
    void redacted(const std::set<RoomKey>& rooms);
    void members_changed(RoomKey room);
    void clear();

    void report(Status& status) const;

  private:
    using MemberName = std::pair<RoomKey, std::string>;
    using RoomMembers = std::map<std::string, Member>;

    template <class Value>
    struct Cached {
        Value value;
        Moment at;
    };

    Task<std::map<EventRef, EventPtr>> read_events(std::vector<EventRef> refs);
    Task<std::map<MemberName, Member>> read_members(std::vector<MemberName> names);
    void put(const EventPtr& event, Moment at);
    /// Nullptr when there are none, or none as late as that: those are not kept any longer.
    const RoomMembers* kept_members(RoomKey room, Moment since);
    /// Whether nothing in its room has been redacted since.
    bool is_current(const StoredEvent& event, Moment at) const;
    void forget_events();
    void forget_event_reads();
    void forget_member_reads();

    RoomStore& store_;
    SharedLookup<EventRef, EventPtr> event_reads_;
    SharedLookup<MemberName, Member> member_reads_;
    Lru<EventRef, Cached<EventPtr>> events_;
    Lru<StateKey, StatePtr> states_;
    Lru<RoomKey, Cached<RoomMembers>> members_;
    CacheStatus used_events_;  ///< hits and misses; likewise the next two
    CacheStatus used_states_;
    CacheStatus used_members_;
    Moment changes_ = 0;  ///< what was read before the last one may be old
    Moment cleared_ = 0;  ///< none of before is kept
    std::unordered_map<RoomKey, Moment> redacted_;
    std::uint64_t member_changes_ = 0;  ///< likewise
};

}  // namespace matrix_sync
