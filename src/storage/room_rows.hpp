// Rows of device_room as the core knows them.
#pragma once

#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

/// What read_room() wants of `device_room d JOIN room r ON r.id = d.room LEFT JOIN room_state s ON s.id = d.state`, in its order.
#define MATRIX_SYNC_ROOM_COLUMNS                                                                                                       \
    "d.room, r.room_id, coalesce(r.type, ''), coalesce(r.version, '1'), d.section, d.banned, d.seq, d.entered, d.listed_seq, "         \
    "d.members_seq, d.state_seq, d.direct_seq, d.tags_seq, d.summary_seq, d.counts_seq, d.receipts_seq, d.account_data_seq, d.state, " \
    "s.heads, d.timestamp, d.notifications, d.thread_notifications, d.summary, d.stripped, d.direct, d.tags, d.marked_unread"
#define MATRIX_SYNC_ROOM_TABLES "device_room d JOIN room r ON r.id = d.room LEFT JOIN room_state s ON s.id = d.state"

/// The row whose first column is `column`.
RoomRow read_room(const Rows& rows, std::size_t row, std::size_t column = 0);
std::vector<RoomRow> read_rooms(const Rows& rows);

struct DeviceRoom {
    DeviceKey device;
    const RoomRow* row = nullptr;
};

/// Makes the rows, or gives them their new values.
void put_rooms(Sending& sending, const std::vector<DeviceRoom>& rooms);

}  // namespace matrix_sync
