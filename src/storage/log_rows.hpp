// Rows of the log as the core knows them.
#pragma once

#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

/// What read_entry() wants of `log l JOIN room r ON r.id = l.room`, in its order.
#define MATRIX_SYNC_ENTRY_COLUMNS                                                                                               \
    "l.seq, l.room, r.room_id, l.section, l.events, l.transaction_ids, l.gap, l.limited, l.prev_batch, l.next_batch, l.state, " \
    "l.typing, l.state_changed, l.members, l.redacts, (extract(epoch FROM clock_timestamp() - l.at) * 1000)::bigint"

/// The entry whose first column is `column`.
Entry read_entry(const Rows& rows, std::size_t row, std::size_t column = 0);
std::vector<Entry> read_entries(const Rows& rows);

struct DeviceEntry {
    DeviceKey device;
    const Entry* entry = nullptr;
};

/// Makes the rows.
void put_entries(Sending& sending, const std::vector<DeviceEntry>& entries);

}  // namespace matrix_sync
