// The children of a space and their order: client-server specification, "Ordering of children within a space".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "matrix_sync/ids.hpp"

namespace matrix_sync {

struct SpaceChild {
    RoomId room;
    std::optional<std::string> order;   ///< only when valid
    std::int64_t origin_server_ts = 0;  ///< of the m.space.child event, in milliseconds; 0 when absent
};

/// From a whole m.space.child event. None unless `via` is an array of strings and not empty: the room is then no child.
std::optional<SpaceChild> read_space_child(std::string_view event, std::string_view state_key);

/// Whether `one` comes before `other`: a strict weak order, total for different rooms.
bool before(const SpaceChild& one, const SpaceChild& other);

}  // namespace matrix_sync
