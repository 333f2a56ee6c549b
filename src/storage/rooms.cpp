#include "storage/rooms.hpp"

#include "core/json/text.hpp"
#include "core/log/state.hpp"
#include "matrix_sync/error.hpp"
#include "storage/log_rows.hpp"
#include "storage/room_rows.hpp"
#include "storage/state_sets.hpp"

namespace matrix_sync {
namespace {

constexpr std::int64_t rooms_at_once = 1000;
/// Snapshots that a session keeps of each of its streams.
constexpr std::int32_t most_snapshots = 8;

const Statement get_rooms{"rooms_get_all", "SELECT " MATRIX_SYNC_ROOM_COLUMNS " FROM " MATRIX_SYNC_ROOM_TABLES R"sql(
    WHERE d.device = $1::bigint AND d.room > $2::bigint ORDER BY d.room LIMIT $3::bigint
)sql"};

const Statement get_room{"rooms_get", "SELECT " MATRIX_SYNC_ROOM_COLUMNS R"sql(
    FROM room r
    CROSS JOIN LATERAL (SELECT * FROM device_room WHERE device = $1::bigint AND room = r.id OFFSET 0) AS d
    LEFT JOIN room_state s ON s.id = d.state
    WHERE r.room_id = $2::text
)sql"};

const Statement get_receipts{"rooms_get_receipts", R"sql(
    SELECT seq, user_id, type, thread, event_id, body FROM receipt
    WHERE device = $1::bigint AND room = $2::bigint AND seq > $3::bigint ORDER BY seq, user_id, type, thread
)sql"};

const Statement get_room_account_data{"rooms_get_account_data", R"sql(
    SELECT seq, type, body FROM room_account_data
    WHERE device = $1::bigint AND room = $2::bigint AND seq > $3::bigint ORDER BY seq, type
)sql"};

const Statement get_account_data{"rooms_get_global_account_data", R"sql(
    SELECT body FROM account_data WHERE device = $1::bigint AND type = $2::text
)sql"};

const Statement get_since{"rooms_get_since", R"sql(
    SELECT since FROM device WHERE id = $1::bigint
)sql"};

// `+ 0`: so that a range of numbers does not look narrower than the room, which it seldom is.
const Statement get_entries{"rooms_get_entries", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM log l JOIN room r ON r.id = l.room
    WHERE l.device = $1::bigint AND l.room = $2::bigint AND l.seq > $3::bigint AND l.seq + 0 <= $4::bigint
    ORDER BY l.seq
)sql"};

const Statement get_pruned{"rooms_get_pruned", R"sql(
    SELECT pruned FROM device WHERE id = $1::bigint
)sql"};

const Statement get_last{"rooms_get_last", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM unnest($2::bigint[]) AS wanted (room)
    CROSS JOIN LATERAL (
        SELECT * FROM log WHERE device = $1::bigint AND room = wanted.room AND seq <= $3::bigint ORDER BY seq DESC LIMIT $4::bigint
    ) AS l
    JOIN room r ON r.id = l.room
    ORDER BY l.room, l.seq DESC
)sql"};

const Statement get_events{"rooms_get_events", R"sql(
    SELECT ref, event_id, room, type, state_key, sender, origin_server_ts, body FROM event WHERE ref = ANY ($1::bigint[])
)sql"};

// Joined (1) and invited (2) people; where there is nobody else, those who have left (4) or were banned (5).
const Statement get_people{"rooms_get_people", R"sql(
    SELECT wanted.room,
           (SELECT count(*) FROM member m WHERE m.room = wanted.room AND m.membership = 1 AND m.until IS NULL),
           (SELECT count(*) FROM member m WHERE m.room = wanted.room AND m.membership = 2 AND m.until IS NULL),
           CASE WHEN cardinality(present.users) > 0 THEN present.users ELSE former.users END
    FROM unnest($1::bigint[]) AS wanted (room)
    CROSS JOIN LATERAL (SELECT array(
        SELECT m.user_id FROM member m
        WHERE m.room = wanted.room AND m.membership IN (1, 2) AND m.until IS NULL AND m.user_id <> $2::text
        ORDER BY m.membership, m.sort_name, m.user_id LIMIT $3::bigint) AS users) AS present
    CROSS JOIN LATERAL (SELECT array(
        SELECT m.user_id FROM member m
        WHERE m.room = wanted.room AND m.membership IN (4, 5) AND m.until IS NULL AND m.user_id <> $2::text
        ORDER BY m.membership, m.sort_name, m.user_id LIMIT $3::bigint) AS users) AS former
)sql"};

// A crash loses all of them: a client whose page is gone asks for the first one. The first number is any, lest a page of before a crash be
// taken for one of now. No lock is waited for. Nothing where the session is gone, or is going; NULL where another request of it has just
// taken the same number.
const Statement insert_snapshot{"rooms_insert_snapshot", R"sql(
    WITH soon AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true)
    ), live AS MATERIALIZED (
        SELECT id FROM session WHERE id = $1::uuid FOR KEY SHARE SKIP LOCKED
    ), surplus AS (
        DELETE FROM snapshot WHERE session = $1::uuid AND number = ANY (ARRAY(
            SELECT number FROM snapshot
            WHERE session = $1::uuid AND stream = $2::smallint AND number <= (
                SELECT number FROM snapshot WHERE session = $1::uuid AND stream = $2::smallint
                ORDER BY number DESC OFFSET $10::integer - 1 LIMIT 1
            )
            FOR UPDATE SKIP LOCKED
        ))
    ), inserted AS (
        INSERT INTO snapshot (session, number, stream, params, count, rooms, room, version, power_levels, creation)
        SELECT live.id, coalesce((SELECT max(number) FROM snapshot WHERE session = $1::uuid), (random() * 1e9)::integer) + 1,
               $2::smallint, $3::text, $4::bigint, $5::bigint[], $6::bigint, $7::bigint, $8::bigint, $9::bigint
        FROM soon CROSS JOIN live
        ON CONFLICT DO NOTHING RETURNING number
    )
    SELECT (SELECT number FROM inserted) FROM live
)sql"};

const Statement get_snapshot{"rooms_get_snapshot", R"sql(
    SELECT params, count, rooms, room, version, power_levels, creation FROM snapshot
    WHERE session = $1::uuid AND stream = $2::smallint AND number = $3::integer
)sql"};

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

Receipt read_receipt(const Rows& rows, std::size_t row) {
    Receipt receipt;
    receipt.seq = Position{rows.bigint(row, 0)};
    receipt.user = UserId{std::string(rows.text(row, 1))};
    receipt.type = rows.text(row, 2);
    receipt.thread = rows.text(row, 3);
    receipt.event_id = rows.text(row, 4);
    receipt.body = rows.text(row, 5);
    return receipt;
}

Params after(DeviceKey device, RoomKey room, Position position) {
    Params params;
    params.bigint(device.value).bigint(room.value).bigint(position.value);
    return params;
}

MatrixError unknown_session() {
    return {400, "M_UNKNOWN_SYNC_SESSION", "Session unknown or expired"};
}

/// `rows` were asked for after what was read, which is whole if the log has not been pruned further than that even now.
void refuse_pruned(const Rows& rows, Position from) {
    if (!rows.empty() && rows.bigint(0, 0) > from.value) throw unknown_session();
}

std::vector<std::int64_t> numbers(const std::vector<RoomKey>& keys) {
    std::vector<std::int64_t> values;
    values.reserve(keys.size());
    for (RoomKey key : keys) values.push_back(key.value);
    return values;
}

}  // namespace

Task<std::vector<RoomRow>> PostgresRooms::rooms(DeviceKey device, RoomKey after) {
    Params params;
    params.bigint(device.value).bigint(after.value).bigint(rooms_at_once);
    Query query = database_.run(get_rooms, std::move(params));
    Rows rows = co_await query;
    co_return read_rooms(rows);
}

Task<std::optional<RoomRow>> PostgresRooms::room(DeviceKey device, RoomId room) {
    std::optional<RoomRow> found;
    if (storable_text(room.value) != room.value) co_return found;
    Params params;
    params.bigint(device.value).text(room.value);
    Query query = database_.run(get_room, std::move(params));
    Rows rows = co_await query;
    if (!rows.empty()) found = read_room(rows, 0);
    co_return found;
}

Task<std::vector<Receipt>> PostgresRooms::receipts(DeviceKey device, RoomKey room, Position from) {
    Query query = database_.run(get_receipts, after(device, room, from));
    Rows rows = co_await query;
    std::vector<Receipt> receipts;
    for (std::size_t row = 0; row < rows.size(); ++row) receipts.push_back(read_receipt(rows, row));
    co_return receipts;
}

Task<std::vector<AccountDataEvent>> PostgresRooms::room_account_data(DeviceKey device, RoomKey room, Position from) {
    Query query = database_.run(get_room_account_data, after(device, room, from));
    Rows rows = co_await query;
    std::vector<AccountDataEvent> events;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        events.push_back({Position{rows.bigint(row, 0)}, std::string(rows.text(row, 1)), std::string(rows.text(row, 2))});
    }
    co_return events;
}

Task<std::optional<std::string>> PostgresRooms::account_data(DeviceKey device, std::string type) {
    Params params;
    params.bigint(device.value).text(type);
    Query query = database_.run(get_account_data, std::move(params));
    Rows rows = co_await query;
    std::optional<std::string> event;
    if (!rows.empty()) event = rows.text(0, 0);
    co_return event;
}

Task<std::optional<std::string>> PostgresRooms::classic_since(DeviceKey device) {
    Params params;
    params.bigint(device.value);
    Query query = database_.run(get_since, std::move(params));
    Rows rows = co_await query;
    std::optional<std::string> since;
    if (!rows.empty()) since = rows.maybe_text(0, 0);
    co_return since;
}

Task<std::vector<Entry>> PostgresRooms::entries(DeviceKey device, RoomKey room, Position from, Position to) {
    Params params = after(device, room, from);
    params.bigint(to.value);
    Params of_device;
    of_device.bigint(device.value);
    Query query = database_.run(get_entries, std::move(params));
    Query pruned_query = database_.run(get_pruned, std::move(of_device));
    Rows rows = co_await query;
    Rows pruned = co_await pruned_query;
    refuse_pruned(pruned, from);
    co_return read_entries(rows);
}

Task<std::optional<Entry>> PostgresRooms::newest(DeviceKey device, RoomKey room, Position to) {
    std::vector<RoomKey> rooms = {room};
    Params of_device;
    of_device.bigint(device.value);
    std::vector<Entry> found = co_await last(device, std::move(rooms), to, 1);
    Query pruned_query = database_.run(get_pruned, std::move(of_device));
    Rows pruned = co_await pruned_query;
    refuse_pruned(pruned, to);
    std::optional<Entry> entry;
    if (!found.empty()) entry = std::move(found.front());
    co_return entry;
}

Task<std::vector<Entry>> PostgresRooms::last(DeviceKey device, std::vector<RoomKey> rooms, Position to, int most) {
    Params params;
    params.bigint(device.value).bigints(numbers(rooms)).bigint(to.value).bigint(most);
    Query query = database_.run(get_last, std::move(params));
    Rows rows = co_await query;
    co_return read_entries(rows);
}

Task<std::vector<StoredEvent>> PostgresRooms::events(std::vector<EventRef> refs) {
    std::vector<std::int64_t> wanted;
    wanted.reserve(refs.size());
    for (EventRef ref : refs) wanted.push_back(ref.value);
    Params params;
    params.bigints(wanted);
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

Task<std::map<StateKey, StateMap>> PostgresRooms::states(std::vector<StateKey> keys) {
    auto loaded = co_await load_states(database_, std::move(keys));
    std::map<StateKey, StateMap> states;
    for (auto& [key, state] : loaded) states.emplace(key, std::move(state.state));
    co_return states;
}

Task<std::vector<std::pair<RoomKey, Member>>> PostgresRooms::members_of(std::vector<std::pair<RoomKey, std::string>> pairs) {
    return members_.members_of(std::move(pairs));
}

Task<MemberListEnd> PostgresRooms::member_list(RoomKey room) {
    return members_.member_list(room);
}

Task<MemberChanges> PostgresRooms::member_changes(RoomKey room, std::int64_t after) {
    return members_.member_changes(room, after);
}

Task<MembersAt> PostgresRooms::members_at(RoomKey room, std::int64_t version, Memberships memberships, MemberStart after, int most,
                                          std::vector<std::string> named) {
    return members_.members_at(room, version, std::move(memberships), std::move(after), most, std::move(named));
}

Task<std::vector<RoomPeople>> PostgresRooms::people(std::vector<RoomKey> rooms, UserId without, int most) {
    Params params;
    params.bigints(numbers(rooms)).text(without.value).bigint(most);
    Query query = database_.run(get_people, std::move(params));
    Rows rows = co_await query;
    std::vector<RoomPeople> people;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        RoomPeople& room = people.emplace_back();
        room.room = RoomKey{rows.bigint(row, 0)};
        room.joined = rows.bigint(row, 1);
        room.invited = rows.bigint(row, 2);
        for (std::optional<std::string>& user : rows.texts(row, 3)) room.first.emplace_back(std::move(user).value_or(""));
    }
    co_return people;
}

Task<std::vector<RoomKey>> PostgresRooms::store_members(std::vector<RoomMembers> rooms, std::int64_t asked) {
    return members_.store_members(std::move(rooms), asked);
}

Task<std::int64_t> PostgresRooms::now() {
    return members_.now();
}

Task<void> PostgresRooms::end_members(RoomKey room, std::vector<std::string> listed, std::int64_t asked) {
    return members_.end_members(room, std::move(listed), asked);
}

Task<int> PostgresRooms::add_snapshot(const SessionId& session, Paged stream, Snapshot snapshot) {
    Params params;
    params.uuid(session.value).smallint(static_cast<std::int16_t>(stream)).text(snapshot.params).bigint(snapshot.count);
    params.bigints(numbers(snapshot.rooms)).bigint(snapshot.room.value).bigint(snapshot.version);
    params.bigint(snapshot.power_levels.value).bigint(snapshot.create.value).integer(most_snapshots);
    for (;;) {
        Query query = database_.run(insert_snapshot, params);
        Rows inserted = co_await query;
        if (inserted.empty()) throw unknown_session();
        if (!inserted.is_null(0, 0)) co_return inserted.integer(0, 0);
    }
}

Task<std::optional<Snapshot>> PostgresRooms::snapshot(const SessionId& session, Paged stream, int number) {
    Params params;
    params.uuid(session.value).smallint(static_cast<std::int16_t>(stream)).integer(number);
    Query query = database_.run(get_snapshot, std::move(params));
    Rows rows = co_await query;
    std::optional<Snapshot> found;
    if (rows.empty()) co_return found;
    Snapshot& snapshot = found.emplace();
    snapshot.number = number;
    snapshot.params = rows.text(0, 0);
    snapshot.count = rows.bigint(0, 1);
    for (std::int64_t room : rows.bigints(0, 2)) snapshot.rooms.push_back(RoomKey{room});
    snapshot.room = RoomKey{rows.bigint(0, 3)};
    snapshot.version = rows.bigint(0, 4);
    snapshot.power_levels = EventRef{rows.bigint(0, 5)};
    snapshot.create = EventRef{rows.bigint(0, 6)};
    co_return found;
}

}  // namespace matrix_sync
