// Asks the homeserver for all members of a room.
#pragma once

#include "core/devices/poller.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/rooms.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// `GET /rooms/{id}/members`, stored as it arrives. `now` is the store's clock as it was read just before. False when the homeserver
/// answers 403 or 404. Throws MatrixError: 429 as the homeserver says it, else 502 when the list cannot be had.
Task<bool> request_members(Loop& loop, RoomStore& store, RoomKey room, RoomId id, Credential credential, std::int64_t now);

}  // namespace matrix_sync
