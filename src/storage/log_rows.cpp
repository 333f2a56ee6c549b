#include "storage/log_rows.hpp"

#include <algorithm>

#include "core/classic/answer.hpp"
#include "storage/array_text.hpp"

namespace matrix_sync {

namespace {

const Statement put_statement{"log_put", R"sql(
    INSERT INTO log (device, seq, room, section, events, transaction_ids, gap, limited, prev_batch, next_batch, state, typing,
                     state_changed, members, redacts)
    SELECT w.device, w.seq, w.room, w.section, w.events::bigint[], w.transaction_ids::text[], w.gap, w.limited, w.prev_batch, w.next_batch,
           nullif(w.state, 0), w.typing::text[], w.state_changed, w.members, w.redacts
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::boolean[], $8::boolean[],
                $9::text[], $10::text[], $11::bigint[], $12::text[], $13::boolean[], $14::boolean[], $15::boolean[])
        AS w (device, seq, room, section, events, transaction_ids, gap, limited, prev_batch, next_batch, state, typing, state_changed,
              members, redacts)
)sql"};

/// Whether any event was sent by this device.
bool any_own(const Entry& entry) {
    return std::ranges::any_of(entry.transaction_ids, [](const auto& id) { return id.has_value(); });
}

}  // namespace

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

void put_entries(Sending& sending, const std::vector<DeviceEntry>& entries) {
    if (entries.empty()) return;
    std::vector<std::int64_t> devices, seqs, rooms, states;
    std::vector<std::int16_t> sections;
    std::vector<std::string> events, next_batches;
    std::vector<std::optional<std::string>> transaction_ids, prev_batches, typing;
    std::vector<bool> gaps, limited, state_changed, members, redacts;
    for (const auto& [device, entry] : entries) {
        devices.push_back(device.value);
        seqs.push_back(entry->seq.value);
        rooms.push_back(entry->room_key.value);
        sections.push_back(static_cast<std::int16_t>(entry->section));
        events.push_back(array_text(entry->events));
        transaction_ids.push_back(any_own(*entry) ? std::optional(array_text(entry->transaction_ids)) : std::nullopt);
        gaps.push_back(entry->gap);
        limited.push_back(entry->limited);
        prev_batches.push_back(entry->prev_batch);
        next_batches.push_back(entry->next_batch);
        states.push_back(entry->state.value);
        typing.push_back(entry->typing ? std::optional(array_text(*entry->typing)) : std::nullopt);
        state_changed.push_back(entry->state_changed);
        members.push_back(entry->members);
        redacts.push_back(entry->redacts);
    }
    Params params;
    params.bigints(devices).bigints(seqs).bigints(rooms).smallints(sections).texts(events).texts(transaction_ids).booleans(gaps);
    params.booleans(limited).texts(prev_batches).texts(next_batches).bigints(states).texts(typing).booleans(state_changed);
    params.booleans(members).booleans(redacts);
    sending.send(put_statement, std::move(params));
}

}  // namespace matrix_sync
