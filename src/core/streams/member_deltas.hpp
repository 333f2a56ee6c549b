// The membership events that a device was told of in a room, as deltas.
#pragma once

#include <cstddef>
#include <string>

#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

/// Appends `{"events": […]}` with at most `most` of those that came behind the cursor, in their order, or nothing when there are none, and
/// returns the cursor behind them. Only what the user saw as a joined one, up to a leave.
Task<Cursor> read_member_delta(Reading& reading, RoomRow row, Cursor cursor, std::size_t most, std::string& out);

}  // namespace matrix_sync
