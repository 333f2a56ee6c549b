#include "storage/room_rows.hpp"

#include "core/classic/answer.hpp"
#include "storage/state_sets.hpp"

namespace matrix_sync {
namespace {

const Statement put_statement{"rooms_put", R"sql(
    INSERT INTO device_room AS d (
        device, room, section, banned, seq, entered, listed_seq, members_seq, state_seq, direct_seq, tags_seq, summary_seq, counts_seq,
        receipts_seq, account_data_seq, state, timestamp, notifications, thread_notifications, summary, stripped, direct, tags,
        marked_unread)
    SELECT w.*
    FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::boolean[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
                $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
                $18::text[], $19::text[], $20::text[], $21::bytea[], $22::boolean[], $23::text[], $24::boolean[]) AS w
    ON CONFLICT (device, room) DO UPDATE SET
        section = excluded.section, banned = excluded.banned, seq = excluded.seq, entered = excluded.entered,
        listed_seq = excluded.listed_seq, members_seq = excluded.members_seq, state_seq = excluded.state_seq,
        direct_seq = excluded.direct_seq, tags_seq = excluded.tags_seq, summary_seq = excluded.summary_seq,
        counts_seq = excluded.counts_seq, receipts_seq = excluded.receipts_seq, account_data_seq = excluded.account_data_seq,
        state = excluded.state, timestamp = excluded.timestamp, notifications = excluded.notifications,
        thread_notifications = excluded.thread_notifications, summary = excluded.summary, stripped = excluded.stripped,
        direct = excluded.direct, tags = excluded.tags, marked_unread = excluded.marked_unread
)sql"};

/// One value of each row.
template <class Value, class Of>
std::vector<Value> column(const std::vector<DeviceRoom>& rooms, Of of) {
    std::vector<Value> values;
    values.reserve(rooms.size());
    for (const DeviceRoom& room : rooms) values.push_back(of(*room.row));
    return values;
}

std::vector<std::int64_t> places(const std::vector<DeviceRoom>& rooms, Position RoomRow::*place) {
    return column<std::int64_t>(rooms, [place](const RoomRow& room) { return (room.*place).value; });
}

std::vector<std::string> texts(const std::vector<DeviceRoom>& rooms, std::string RoomRow::*text) {
    return column<std::string>(rooms, [text](const RoomRow& room) { return room.*text; });
}

std::vector<bool> flags(const std::vector<DeviceRoom>& rooms, bool RoomRow::*flag) {
    return column<bool>(rooms, [flag](const RoomRow& room) { return room.*flag; });
}

}  // namespace

RoomRow read_room(const Rows& rows, std::size_t row, std::size_t column) {
    std::size_t next = column;
    auto place = [&] { return Position{rows.bigint(row, next++)}; };
    auto text = [&] { return std::string(rows.text(row, next++)); };
    RoomRow room;
    room.key = RoomKey{rows.bigint(row, next++)};
    room.room = RoomId{text()};
    room.type = text();
    room.version = text();
    room.section = Section{rows.smallint(row, next++)};
    room.banned = rows.boolean(row, next++);
    for (Position* at :
         {&room.seq, &room.entered, &room.listed, &room.members, &room.state_changed, &room.direct_changed, &room.tags_changed,
          &room.summary_changed, &room.counts_changed, &room.receipts_changed, &room.account_data_changed}) {
        *at = place();
    }
    room.state = StateKey{rows.bigint(row, next++)};
    if (!rows.is_null(row, next)) room.heads = read_heads(rows.bigints(row, next));
    ++next;
    room.timestamp = rows.bigint(row, next++);
    room.notifications = text();
    room.thread_notifications = text();
    room.summary = text();
    room.stripped = text();
    room.direct = rows.boolean(row, next++);
    room.tags = text();
    room.marked_unread = rows.boolean(row, next++);
    return room;
}

std::vector<RoomRow> read_rooms(const Rows& rows) {
    std::vector<RoomRow> rooms;
    rooms.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) rooms.push_back(read_room(rows, row));
    return rooms;
}

void put_rooms(Sending& sending, const std::vector<DeviceRoom>& rooms) {
    if (rooms.empty()) return;
    std::vector<std::int64_t> devices;
    for (const DeviceRoom& room : rooms) devices.push_back(room.device.value);
    Params params;
    params.bigints(devices);
    params.bigints(column<std::int64_t>(rooms, [](const RoomRow& room) { return room.key.value; }));
    params.smallints(column<std::int16_t>(rooms, [](const RoomRow& room) { return static_cast<std::int16_t>(room.section); }));
    params.booleans(flags(rooms, &RoomRow::banned));
    for (Position RoomRow::*place : {&RoomRow::seq, &RoomRow::entered, &RoomRow::listed, &RoomRow::members, &RoomRow::state_changed,
                                     &RoomRow::direct_changed, &RoomRow::tags_changed, &RoomRow::summary_changed, &RoomRow::counts_changed,
                                     &RoomRow::receipts_changed, &RoomRow::account_data_changed}) {
        params.bigints(places(rooms, place));
    }
    params.bigints(column<std::int64_t>(rooms, [](const RoomRow& room) { return room.state.value; }));
    params.bigints(column<std::int64_t>(rooms, [](const RoomRow& room) { return room.timestamp; }));
    params.texts(texts(rooms, &RoomRow::notifications));
    params.texts(texts(rooms, &RoomRow::thread_notifications));
    params.texts(texts(rooms, &RoomRow::summary));
    params.bytess(texts(rooms, &RoomRow::stripped));
    params.booleans(flags(rooms, &RoomRow::direct));
    params.texts(texts(rooms, &RoomRow::tags));
    params.booleans(flags(rooms, &RoomRow::marked_unread));
    sending.send(put_statement, std::move(params));
}

}  // namespace matrix_sync
