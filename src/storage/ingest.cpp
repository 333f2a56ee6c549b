// What is known before anything is stored: where the devices' logs stand, and in each room the log's end and the parts set aside.
#include "storage/ingest.hpp"

#include <algorithm>

#include "core/classic/parser.hpp"
#include "matrix_sync/error.hpp"
#include "storage/log_rows.hpp"
#include "storage/room_rows.hpp"
#include "storage/unused.hpp"

namespace matrix_sync {
namespace {

/// Parts of a room that are kept while it cannot be processed; older ones become a gap.
constexpr std::size_t most_aside = 100;

const Statement lock_leases{"ingest_lock_leases", R"sql(
    SELECT id, epoch, owner IS NOT NULL, seq, since_seq, since IS NOT NULL, user_id, device_id, one_time_keys_count,
           unused_fallback_key_types, keys_seq, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM device WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE
)sql"};

const Statement insert_rooms_statement{"ingest_insert_rooms", R"sql(
    INSERT INTO room (room_id, version, type)
    SELECT w.room_id, min(w.version), min(w.type) FROM unnest($1::text[], $2::text[], $3::text[]) AS w (room_id, version, type)
    GROUP BY w.room_id ORDER BY w.room_id
    ON CONFLICT (room_id) DO NOTHING
)sql"};

const Statement get_rooms{"ingest_get_rooms", R"sql(
    SELECT room_id, id, version, type, unused FROM room WHERE room_id = ANY ($1::text[])
)sql"};

const Statement get_known{"ingest_get_known", "SELECT w.device, l.seq <= d.since_seq, " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM unnest($1::bigint[], $2::text[]) AS w (device, room_id)
    JOIN device d ON d.id = w.device
    JOIN room r ON r.room_id = w.room_id
    CROSS JOIN LATERAL (
        (SELECT * FROM log WHERE device = d.id AND room = r.id AND seq <= d.since_seq ORDER BY seq DESC LIMIT 1)
        UNION ALL
        (SELECT * FROM log WHERE device = d.id AND room = r.id AND seq > d.since_seq)
    ) AS l
    ORDER BY w.device, l.seq
)sql"};

const Statement get_aside{"ingest_get_aside", R"sql(
    SELECT s.device, s.room_id, s.part, s.section, s.since, s.raw
    FROM unnest($1::bigint[], $2::text[]) AS w (device, room_id)
    JOIN set_aside s ON s.device = w.device AND s.room_id = w.room_id
    ORDER BY s.device, s.room_id, s.part
)sql"};

const Statement get_rows{"ingest_get_rows", "SELECT d.device, " MATRIX_SYNC_ROOM_COLUMNS R"sql(
    FROM unnest($1::bigint[], $2::text[]) AS w (device, room_id)
    JOIN room r ON r.room_id = w.room_id
    CROSS JOIN LATERAL (SELECT * FROM device_room WHERE device = w.device AND room = r.id OFFSET 0) AS d
    LEFT JOIN room_state s ON s.id = d.state
)sql"};

const Event* creation_in(const std::vector<Event>& events) {
    auto found = std::ranges::find_if(events, [](const Event& event) { return event.is_state("m.room.create"); });
    return found == events.end() ? nullptr : &*found;
}

}  // namespace

const Event* creation_of(const RoomPart& part) {
    const Event* creation = creation_in(part.state);
    return creation ? creation : creation_in(part.timeline);
}

Ingestion::Ingestion(Transaction& transaction, Loop& loop, std::vector<const Delivery*> deliveries)
    : sending_(transaction), deliveries_(std::move(deliveries)), results_(deliveries_.size()), loop_(loop) {
    plan_rooms();
}

Task<void> Ingestion::carry_out() {
    std::exception_ptr error;
    try {
        co_await take_steps();
    } catch (const StatementFailed&) {
        error = std::current_exception();
    }
    if (!error) co_return;
    co_await settled();
    std::rethrow_exception(error);
}

Task<void> Ingestion::take_steps() {
    co_await read_ends();
    co_await store_events();
    co_await append_rooms();
    co_await write();
}

Ingestion::RoomWork& Ingestion::work_of(std::size_t delivery, const RoomId& room) {
    RoomWork*& work = work_by_room_[{delivery, room}];
    if (!work) {
        work = &works_.emplace_back();
        work->delivery = delivery;
        work->room = room;
    }
    return *work;
}

void Ingestion::plan_rooms() {
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        const Delivery& delivery = *deliveries_[i];
        const LogStore::Piece& piece = delivery.piece;
        if (delivery.retry) work_of(i, delivery.retry->room);
        for (std::size_t j = 0; j < piece.rooms.size(); ++j) {
            if (!delivery.left_out.empty() && delivery.left_out[j]) continue;
            const RoomPart& part = piece.rooms[j];
            RoomWork& work = work_of(i, part.room);
            work.steps.push_back({&part, !piece.from, false, piece.rest ? piece.rest->next_batch : ""});
            if (!part.broken.empty()) work.failure = part.broken;
            if (!delivery.refused.empty() && !delivery.refused[j].empty()) work.failure = delivery.refused[j];
        }
        for (const RoomId& room : piece.more_members) {
            RoomWork& work = work_of(i, room);
            work.members_only = work.steps.empty();
        }
    }
}

Task<void> Ingestion::read_ends() {
    std::vector<std::int64_t> ids;
    for (const Delivery* delivery : deliveries_) ids.push_back(delivery->piece.lease.device.value);
    std::vector<std::int64_t> devices;
    std::vector<std::string> rooms;
    for (const RoomWork& work : works_) {
        devices.push_back(deliveries_[work.delivery]->piece.lease.device.value);
        rooms.push_back(work.room.value);
    }
    Params device_ids;
    device_ids.bigints(ids);
    Params room_ids;
    room_ids.texts(rooms);
    Params pairs;
    pairs.bigints(devices).texts(rooms);

    Query locked = sending_.ask(lock_leases, std::move(device_ids));
    if (works_.empty()) {
        Rows device_rows = co_await locked;
        take_devices(device_rows);
        co_await read_direct_rooms();
        co_return;
    }
    Query found_rooms = sending_.ask(get_rooms, room_ids);
    Query known = sending_.ask(get_known, pairs);
    Query aside = sending_.ask(get_aside, pairs);
    Query looks = sending_.ask(get_rows, pairs);
    Rows device_rows = co_await locked;
    take_devices(device_rows);
    Rows room_rows = co_await found_rooms;
    for (;;) {
        const bool unused = take_rooms(room_rows);
        const bool inserted = insert_rooms();
        if (!unused && !inserted) break;
        Query again = sending_.ask(get_rooms, room_ids);
        room_rows = co_await again;
    }
    Rows known_rows = co_await known;
    take_known(known_rows);
    Rows aside_rows = co_await aside;
    co_await take_aside(aside_rows);
    Rows looks_rows = co_await looks;
    take_rows(looks_rows);
    co_await read_direct_rooms();
}

bool Ingestion::stray(const RoomWork& work) {
    if (!work.key) return true;
    if (work.known_at_first.live()) return false;
    return std::ranges::all_of(work.steps, [](const Step& step) { return step.part->section == Section::leave; });
}

/// Those that nobody knows yet; says whether there were any.
bool Ingestion::insert_rooms() {
    std::vector<std::string> rooms;
    std::vector<std::optional<std::string>> versions;
    std::vector<std::optional<std::string>> types;
    auto add = [&](const RoomWork& work, const Event* creation) {
        rooms.push_back(work.room.value);
        versions.push_back(creation ? std::optional(creation->room_version) : std::nullopt);
        types.push_back(creation ? std::optional(creation->room_type) : std::nullopt);
    };
    for (const RoomWork& work : works_) {
        if (work.key || !live(work.delivery) || !work.failure.empty()) continue;
        if (const auto& retry = deliveries_[work.delivery]->retry) add(work, creation_in(retry->state));
        for (const Step& step : work.steps) {
            if (step.part->section != Section::leave) add(work, creation_of(*step.part));
        }
    }
    if (rooms.empty()) return false;
    Params params;
    params.texts(rooms).texts(versions).texts(types);
    sending_.send(insert_rooms_statement, std::move(params));
    return true;
}

void Ingestion::take_devices(const Rows& rows) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
        DeviceEnd& end = ends_[DeviceKey{rows.bigint(row, 0)}];
        end.epoch = rows.bigint(row, 1);
        end.owned = rows.boolean(row, 2);
        end.seq = Position{rows.bigint(row, 3)};
        end.since_seq = Position{rows.bigint(row, 4)};
        end.whole = rows.boolean(row, 5);
        end.user = rows.text(row, 6);
        end.name = "device " + std::string(rows.text(row, 6)) + " " + std::string(rows.text(row, 7));
        end.counts.one_time_keys_count = rows.maybe_text(row, 8);
        end.counts.unused_fallback_key_types = rows.maybe_text(row, 9);
        end.counts.seq = Position{rows.bigint(row, 10)};
        time_ = rows.bigint(row, 11);
    }
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        const LogStore::Piece& piece = deliveries_[i]->piece;
        const DeviceEnd& end = ends_[piece.lease.device];
        LogStore::Ingested& result = results_[i];
        result.lease_lost = !end.owned || end.epoch != piece.lease.epoch || piece.end.value_or(end.seq) != end.seq;
        result.news.from = result.news.to = end.seq;
        result.news.whole = end.whole;
    }
}

/// Says whether some were unused, and have to be looked for again.
bool Ingestion::take_rooms(const Rows& rows) {
    std::map<RoomId, RoomKey> keys;
    std::vector<std::string> unused;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        RoomId room{std::string(rows.text(row, 0))};
        if (rows.boolean(row, 4)) unused.push_back(room.value);
        kinds_[room] = {rows.maybe_text(row, 2), rows.maybe_text(row, 3).value_or("")};
        keys[std::move(room)] = RoomKey{rows.bigint(row, 1)};
    }
    for (RoomWork& work : works_) work.key = keys[work.room];
    if (!unused.empty()) use_rooms(sending_, unused);
    return !unused.empty();
}

void Ingestion::take_known(const Rows& rows) {
    std::map<std::pair<DeviceKey, RoomId>, RoomWork*> works;
    for (RoomWork& work : works_) works[{deliveries_[work.delivery]->piece.lease.device, work.room}] = &work;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        Entry entry = read_entry(rows, row, 2);
        RoomWork& work = *works.at({DeviceKey{rows.bigint(row, 0)}, entry.room});
        if (rows.boolean(row, 1)) {
            work.known.base = std::move(entry);
        } else {
            work.known.replay.push_back(std::move(entry));
        }
    }
    for (RoomWork& work : works_) work.known_at_first = work.known;
}

void Ingestion::take_rows(const Rows& rows) {
    std::map<std::pair<DeviceKey, RoomId>, RoomWork*> works;
    for (RoomWork& work : works_) works[{deliveries_[work.delivery]->piece.lease.device, work.room}] = &work;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        RoomRow look = read_room(rows, row, 1);
        works.at({DeviceKey{rows.bigint(row, 0)}, look.room})->row = std::move(look);
    }
}

Task<void> Ingestion::take_aside(const Rows& rows) {
    std::map<std::pair<DeviceKey, RoomId>, RoomWork*> works;
    for (RoomWork& work : works_) works[{deliveries_[work.delivery]->piece.lease.device, work.room}] = &work;
    Slices slices(loop_);
    // Each goes before the new steps, in order: from the newest to the oldest, each to the front.
    for (std::size_t row = rows.size(); row-- > 0;) {
        RoomId room{std::string(rows.text(row, 1))};
        RoomWork& work = *works.at({DeviceKey{rows.bigint(row, 0)}, room});
        if (work.members_only) continue;
        std::string raw(rows.text(row, 5));
        RoomPart part = co_await parse_room(std::move(room), Section{rows.smallint(row, 3)}, std::move(raw), slices);
        add_aside(work, rows.bigint(row, 2), std::move(part), rows.maybe_text(row, 4));
    }
}

void Ingestion::add_aside(RoomWork& work, std::int64_t number, RoomPart part, const std::optional<std::string>& since) {
    work.aside.push_back(number);
    const Delivery& delivery = *deliveries_[work.delivery];
    const bool too_many = work.aside.size() > most_aside;
    if (delivery.without_aside.contains(work.room) || too_many) {
        work.begins_with_gap = true;
        work.lacks_state = work.lacks_state || (too_many && !delivery.retry);
        work.superseded.push_back(number);
        return;
    }
    if (delivery.retry) {
        part.state = delivery.retry->state;
        part.state_is_after = true;
    } else if (!delivery.piece.from || since == delivery.piece.from || number > end_of(work.delivery).since_seq.value) {
        // The whole truth, or what an answer said that was cut off before its end, and is repeated.
        work.superseded.push_back(number);
        return;
    }
    if (!work.key || !work.failure.empty()) return;
    work.steps.insert(work.steps.begin(), {&parts_.emplace_back(std::move(part)), !since, true, ""});
}

}  // namespace matrix_sync
