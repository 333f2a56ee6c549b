#include "storage/log_rows.hpp"

#include "core/classic/answer.hpp"

namespace matrix_sync {

Entry read_entry(const Rows& rows, std::size_t row, std::size_t column) {
    Entry entry;
    entry.seq = Position{rows.bigint(row, column)};
    entry.room_key = RoomKey{rows.bigint(row, column + 1)};
    entry.room = RoomId{std::string(rows.text(row, column + 2))};
    entry.section = Section{rows.smallint(row, column + 3)};
    for (std::int64_t ref : rows.bigints(row, column + 4)) entry.events.push_back(EventRef{ref});
    if (!rows.is_null(row, column + 5)) entry.transaction_ids = rows.texts(row, column + 5);
    entry.gap = rows.boolean(row, column + 6);
    entry.limited = rows.boolean(row, column + 7);
    entry.prev_batch = rows.maybe_text(row, column + 8);
    entry.next_batch = rows.text(row, column + 9);
    if (!rows.is_null(row, column + 10)) entry.state = StateKey{rows.bigint(row, column + 10)};
    if (!rows.is_null(row, column + 11)) {
        entry.typing.emplace();
        for (std::optional<std::string>& user : rows.texts(row, column + 11)) entry.typing->push_back(std::move(user).value_or(""));
    }
    entry.state_changed = rows.boolean(row, column + 12);
    entry.members = rows.boolean(row, column + 13);
    entry.redacts = rows.boolean(row, column + 14);
    entry.age_ms = rows.bigint(row, column + 15);
    return entry;
}

std::vector<Entry> read_entries(const Rows& rows) {
    std::vector<Entry> entries;
    entries.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) entries.push_back(read_entry(rows, row));
    return entries;
}

}  // namespace matrix_sync
