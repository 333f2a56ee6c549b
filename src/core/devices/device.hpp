// A device in a worker's memory: where its log stands, the log's end, and whom to wake when it moves.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/devices/typing.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/store.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

struct Settings;

/// Everything up to end() has been seen by this worker, whether it polled it or read it. What came lately is still in memory; what came
/// before is read from the store. Only its Poller moves it.
class Device {
  public:
    Device(Loop& loop, LogStore& logs, const DeviceRow& row);

    const DeviceKey key;
    const UserId user;
    const DeviceId id;

    Position end() const { return end_; }
    /// Its first poll has ended. Until then every answer is `partial`.
    bool whole() const { return whole_; }
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

    /// A session has come back for all this: what is before may have been deleted, and only the store knows.
    void acknowledged(const Acknowledged& acknowledged);
    /// News that begin where the log stood; what was known already is passed over.
    void apply(News news);
    /// The log as its present owner has it: what memory knew of its end does not count any more. `typing` is what that owner's polls said
    /// lately.
    void restart(const DeviceRow& row, const std::vector<Entry>& typing);

  private:
    template <class Item, class List>
    std::optional<std::vector<Item>> from_memory(Position after, Position deleted, List News::*list) const;
    void forget_oldest();

    LogStore& logs_;
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
    std::deque<News> tail_;  ///< without gaps up to end_
    std::size_t tail_bytes_ = 0;
};

}  // namespace matrix_sync
