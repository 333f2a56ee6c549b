// The rooms that a space lists: client-server specification, "Spaces".
#pragma once

#include <map>
#include <vector>

#include "core/matrix/space_order.hpp"
#include "core/streams/reading.hpp"

namespace matrix_sync {

/// What a space's state says.
struct SpaceState {
    std::vector<SpaceChild> children;  ///< in their order
    std::vector<RoomId> dropped;       ///< those with an m.space.child that lists them no more
};

/// Of a set that does not exist, nothing.
Task<SpaceState> read_space(Reading& reading, StateKey state);

/// The rooms that came into a space, went out of it or changed their places after a position, and where in the device's log each last did.
/// A space lists rooms only while the user has joined it.
Task<std::map<RoomId, Position>> space_changes(Reading& reading, RoomRow space, Position after);

}  // namespace matrix_sync
