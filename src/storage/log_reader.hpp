// Reads the log by room, and the events and state that it points to. What an entry, a ref or a state key names never changes, but for
// redactions.
#pragma once

#include <optional>
#include <vector>

#include "core/log/state.hpp"
#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// An event as it is stored: of `unsigned` only what is the same for everyone.
struct StoredEvent {
    EventRef ref;
    EventId event_id;
    RoomKey room;
    std::string type;
    std::optional<std::string> state_key;
    UserId sender;
    std::int64_t origin_server_ts = 0;
    std::string body;
};

class LogReader {
  public:
    explicit LogReader(Database& database) : database_(database) {}

    Task<std::optional<RoomKey>> room(RoomId room);
    /// In (from, to], oldest first.
    Task<std::vector<Entry>> entries(DeviceKey device, RoomKey room, Position from, Position to);
    /// The newest up to `to`: what says which state the room has there.
    Task<std::optional<Entry>> newest(DeviceKey device, RoomKey room, Position to);
    /// Up to `to`, newest first: as many as read_last() needs to give `most` events.
    Task<std::vector<Entry>> last(DeviceKey device, RoomKey room, Position to, std::size_t most);
    /// In the order of the refs; those that do not exist are left out.
    Task<std::vector<StoredEvent>> events(std::vector<EventRef> refs);
    /// Empty when there is no such set.
    Task<StateMap> state(StateKey key);

  private:
    Database& database_;
};

}  // namespace matrix_sync
