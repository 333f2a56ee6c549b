// A device in a worker's memory: where its log stands, the log's end, and whom to wake when it moves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/devices/tail.hpp"
#include "core/devices/typing.hpp"
#include "core/rooms/cache.hpp"
#include "core/rooms/cache_budget.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/rooms.hpp"
#include "matrix_sync/store.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

struct Settings;
class RoomViews;
template <class T>
class SharedWork;

/// Everything up to end() has been seen by this worker, whether it polled it or read it. What came lately is still in memory; what came
/// before is read from the store. Only its Poller moves it.
///
/// What it keeps of the log and of rooms counts in the worker's budget. While a request holds the device, its rooms stay.
class Device : private CacheBudget::Spender {
  public:
    Device(Loop& loop, LogStore& logs, RoomStore& rooms, RoomCache& cache, CacheBudget& budget, const DeviceRow& row);
    ~Device() override;

    const DeviceKey key;
    const UserId user;
    const DeviceId id;

    Position end() const { return end_; }
    /// Its first poll has ended. Until then every answer is `partial`.
    bool whole() const { return whole_; }
    void hold() { ++held_; }
    void let_go();
    /// Something came, somebody stopped typing, a wait is to end: those who wait look again.
    Signal& changed() { return changed_; }
    const Typing& typing() const { return typing_; }

    /// Whether something of the kind may have come after the position: true also where memory cannot tell.
    bool to_device_after(Position after) const { return last_to_device_ > after; }
    bool device_lists_after(Position after) const { return last_device_list_ > after; }
    bool account_data_after(Position after) const { return last_account_data_ > after; }

    /// What is still kept after the position, oldest first; from memory where memory reaches back to it.
    Task<std::vector<ToDeviceMessage>> read_to_device(Position after, int limit);
    Task<std::vector<DeviceListChange>> read_device_lists(Position after);
    Task<std::vector<AccountDataEvent>> read_account_data(Position after);
    Task<KeyCounts> read_key_counts();

    /// A room as it is now; none when the device was never told of it. Once asked for, it is kept up to date. It may be ahead of end():
    /// what is read to go with it is read up to row.seq.
    Task<std::optional<RoomRow>> room(RoomId room);
    /// The same, if it is kept; nullptr when memory cannot tell, or nothing is known of the room.
    const RoomRow* kept_room(const RoomId& room) const;
    /// Whether something has come to the room after the position that `place` counts: true also where memory cannot tell.
    bool room_after(const RoomId& room, Position RoomRow::*place, Position after) const;
    /// All of the device's rooms, from now on kept up to date.
    Task<void> load_rooms();
    bool rooms_loaded() const { return all_rooms_; }
    /// Those that are kept: all after load_rooms().
    const std::map<RoomId, RoomRow>& rooms() const { return rooms_; }
    /// Those of them that have changed after a position, in order of seq.
    std::vector<const RoomRow*> rooms_after(Position after) const;
    /// What has been computed of them.
    RoomViews& views() { return *views_; }
    /// Where a room list last changed, by RoomRow::listed: at end() when memory cannot tell.
    Position listed() const { return all_rooms_ ? listed_ : end_; }
    /// The device's log in one room, in (from, to], oldest first.
    Task<std::vector<Entry>> read_entries(RoomKey room, Position from, Position to);
    /// The newest of the log in these rooms, up to `to`, newest first: as far back as memory goes and `most` events need.
    std::vector<Entry> kept_entries(const std::set<RoomKey>& rooms, Position to, std::size_t most) const;
    /// A room's newest entries up to `to`, newest first, as the store gave them.
    void keep_entries(RoomKey room, const std::vector<Entry>& entries, Position to);
    /// By ref; those that do not exist are not in it. What is in the worker's memory from before it heard of this log is read again: nobody
    /// has told it what was redacted, or who was renamed.
    Task<std::map<EventRef, RoomCache::EventPtr>> read_events(std::vector<EventRef> refs);
    /// Likewise, newest known.
    Task<std::map<std::string, Member>> read_members(RoomKey room, std::vector<std::string> users);
    /// m.ignored_user_list, as it is now.
    Task<std::shared_ptr<const std::set<std::string>>> ignored_users();

    /// A session has come back for all this: what is before may have been deleted, and only the store knows.
    void acknowledged(const Acknowledged& acknowledged);
    /// News that begin where the log stood; what was known already is passed over.
    void apply(News news);
    /// The log as its present owner has it: what memory knew of its end does not count any more. `typing` is what that owner's polls said
    /// lately.
    void restart(const DeviceRow& row, const std::vector<Entry>& typing);

  private:
    template <class Item>
    std::optional<std::vector<Item>> from_memory(Position after, Position deleted, std::vector<Item> News::*list) const;
    std::size_t bytes() const;
    void drop() override;

    void keep(const RoomRow& row);
    void keep(const std::vector<RoomRow>& rows);
    Task<bool> load_all_rooms();
    void forget_rooms();

    Loop& loop_;
    LogStore& logs_;
    RoomStore& room_store_;
    RoomCache& cache_;
    RoomCache::Moment heard_since_;  ///< all that the log has said from then on
    Signal changed_;
    Typing typing_;
    Position end_;
    bool whole_;
    Position last_to_device_;
    Position last_device_list_;
    Position last_account_data_;
    Position deleted_to_device_;     ///< up to here, perhaps
    Position deleted_device_lists_;  ///< likewise
    std::optional<KeyCounts> key_counts_;
    std::map<RoomId, RoomRow> rooms_;                             ///< those without a key: nothing is known of them
    std::set<std::pair<Position, const RoomRow*>> rooms_by_seq_;  ///< those with a key
    bool all_rooms_ = false;
    std::unique_ptr<RoomViews> views_;
    Position listed_;
    std::uint64_t restarts_ = 0;
    std::shared_ptr<SharedWork<bool>> loading_;
    std::shared_ptr<const std::set<std::string>> ignored_;
    Tail tail_;  ///< up to end_
    int held_ = 0;
};

}  // namespace matrix_sync
