#include "storage/log_reader.hpp"

#include <map>

#include "core/log/read.hpp"
#include "storage/log_rows.hpp"
#include "storage/state_sets.hpp"

namespace matrix_sync {
namespace {

const Statement get_room{"reader_get_room", R"sql(
    SELECT id FROM room WHERE room_id = $1::text
)sql"};

// `+ 0`: so that a range of numbers does not look narrower than the room, which it seldom is.
const Statement get_entries{"reader_get_entries", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM log l JOIN room r ON r.id = l.room
    WHERE l.device = $1::bigint AND l.room = $2::bigint AND l.seq > $3::bigint AND l.seq + 0 <= $4::bigint
    ORDER BY l.seq
)sql"};

const Statement get_last{"reader_get_last", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM (
        SELECT * FROM log WHERE device = $1::bigint AND room = $2::bigint AND seq <= $3::bigint ORDER BY seq DESC LIMIT $4::bigint
    ) AS l
    JOIN room r ON r.id = l.room
    ORDER BY l.seq DESC
)sql"};

const Statement get_events{"reader_get_events", R"sql(
    SELECT ref, event_id, room, type, state_key, sender, origin_server_ts, body FROM event WHERE ref = ANY ($1::bigint[])
)sql"};

constexpr std::int64_t entries_at_once = 32;

StoredEvent read_event(const Rows& rows, std::size_t row) {
    StoredEvent event;
    event.ref = EventRef{rows.bigint(row, 0)};
    event.event_id = EventId{std::string(rows.text(row, 1))};
    event.room = RoomKey{rows.bigint(row, 2)};
    event.type = rows.text(row, 3);
    event.state_key = rows.maybe_text(row, 4);
    event.sender = UserId{std::string(rows.text(row, 5))};
    event.origin_server_ts = rows.bigint(row, 6);
    event.body = rows.text(row, 7);
    return event;
}

Params before(DeviceKey device, RoomKey room, Position to, std::int64_t limit) {
    Params params;
    params.bigint(device.value).bigint(room.value).bigint(to.value).bigint(limit);
    return params;
}

}  // namespace

Task<std::optional<RoomKey>> LogReader::room(RoomId room) {
    Params params;
    params.text(room.value);
    Query query = database_.run(get_room, std::move(params));
    Rows rows = co_await query;
    std::optional<RoomKey> key;
    if (!rows.empty()) key = RoomKey{rows.bigint(0, 0)};
    co_return key;
}

Task<std::vector<Entry>> LogReader::entries(DeviceKey device, RoomKey room, Position from, Position to) {
    Params params;
    params.bigint(device.value).bigint(room.value).bigint(from.value).bigint(to.value);
    Query query = database_.run(get_entries, std::move(params));
    Rows rows = co_await query;
    co_return read_entries(rows);
}

Task<std::optional<Entry>> LogReader::newest(DeviceKey device, RoomKey room, Position to) {
    Query query = database_.run(get_last, before(device, room, to, 1));
    Rows rows = co_await query;
    std::optional<Entry> entry;
    if (!rows.empty()) entry = read_entry(rows, 0);
    co_return entry;
}

Task<std::vector<Entry>> LogReader::last(DeviceKey device, RoomKey room, Position to, std::size_t most) {
    std::vector<Entry> entries;
    for (;;) {
        Query query = database_.run(get_last, before(device, room, to, entries_at_once));
        Rows rows = co_await query;
        for (Entry& entry : read_entries(rows)) entries.push_back(std::move(entry));
        if (rows.size() < static_cast<std::size_t>(entries_at_once) || reaches_back(entries, most)) co_return entries;
        to = Position{entries.back().seq.value - 1};
    }
}

Task<std::vector<StoredEvent>> LogReader::events(std::vector<EventRef> refs) {
    std::vector<std::int64_t> numbers;
    for (EventRef ref : refs) numbers.push_back(ref.value);
    Params params;
    params.bigints(numbers);
    Query query = database_.run(get_events, std::move(params));
    Rows rows = co_await query;
    std::map<EventRef, std::size_t> places;
    for (std::size_t row = 0; row < rows.size(); ++row) places[EventRef{rows.bigint(row, 0)}] = row;
    std::vector<StoredEvent> events;
    for (EventRef ref : refs) {
        if (auto place = places.find(ref); place != places.end()) events.push_back(read_event(rows, place->second));
    }
    co_return events;
}

Task<StateMap> LogReader::state(StateKey key) {
    std::vector<StateKey> keys;
    if (key) keys.push_back(key);
    auto states = co_await load_states(database_, std::move(keys));
    co_return std::move(states[key].state);
}

}  // namespace matrix_sync
