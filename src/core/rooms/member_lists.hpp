// Member lists that somebody looks at, in memory and in order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "core/rooms/cache_budget.hpp"
#include "core/rooms/member_list.hpp"
#include "core/shared_work.hpp"
#include "matrix_sync/rooms.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

struct Credential;

/// One for a worker.
class MemberLists {
  public:
    /// What a member counts for in the budget.
    static constexpr std::size_t kMemberBytes = 256;

    /// `fetched` is told when more is known of a room's members than logs tell.
    using Fetched = std::function<void(RoomKey)>;
    MemberLists(Loop& loop, RoomStore& store, CacheBudget& budget, Fetched fetched)
        : loop_(loop), store_(store), budget_(budget), fetched_(std::move(fetched)) {}
    ~MemberLists();

    using ListPtr = std::shared_ptr<const MemberList>;
    /// The list of a room, complete, and as new as the database has it now. One that is not complete is fetched from the homeserver, once
    /// for all who look. Null when the homeserver answers 403 or 404. Throws MatrixError 502 when it cannot be had, 429 as the homeserver
    /// says it. What is returned is as of its version for as long as the caller does not suspend.
    Task<ListPtr> look(RoomKey room, RoomId id, const Credential& credential);

    /// Forgets all lists; whoever holds one keeps it.
    void clear();
    /// Members in memory.
    std::size_t kept() const;
    /// Rooms of which there are some.
    std::size_t rooms() const;

  private:
    using Look = SharedWork<ListPtr>;
    struct Kept;
    struct Joined {
        std::shared_ptr<Look> look;
        bool own = false;  ///< it is done with this caller's credential
    };

    Joined join(RoomKey room, const std::shared_ptr<Kept>& kept, const RoomId& id, const Credential& credential);
    Task<ListPtr> look_behind(RoomKey room, std::shared_ptr<Kept> kept, RoomId id, std::unique_ptr<Credential> credential);
    Task<ListPtr> bring_up(RoomKey room, std::shared_ptr<Kept> kept, RoomId id, std::unique_ptr<Credential> credential);
    Task<MemberListEnd> update(RoomKey room, std::shared_ptr<Kept> kept);
    Task<void> load(RoomKey room, std::shared_ptr<Kept> kept);
    void forget();

    Loop& loop_;
    RoomStore& store_;
    CacheBudget& budget_;
    Fetched fetched_;
    std::map<RoomKey, std::shared_ptr<Kept>> rooms_;
};

}  // namespace matrix_sync
