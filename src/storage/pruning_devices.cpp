// What a device does not need any more: old entries of its log, rooms that it has left, and all that can be had again when nobody uses it.
#include "storage/ingest_sending.hpp"
#include "storage/pruning.hpp"

namespace matrix_sync {

namespace {

/// Entries that one step goes on in a log.
constexpr std::int32_t entries_at_once = 200;
/// The most events that a first page of a room shows of it.
constexpr std::int32_t most_shown = 200;
constexpr std::int32_t rooms_in_step = 50;

const Statement lock_pruned{"pruning_lock_device", R"sql(
    SELECT id FROM device WHERE id = $1::bigint FOR UPDATE
)sql"};

// The next entries that no live session can ask for as news, that their own ingest is done with, and that are old enough, and their rooms.
// `at` goes forward with `seq`, as far as PostgreSQL's clock does.
const Statement get_next{"pruning_get_next", R"sql(
    SELECT coalesce(max(l.seq), 0), coalesce(array_agg(DISTINCT l.room), '{}')
    FROM (
        SELECT seq, room, at FROM log
        WHERE device = $1::bigint AND seq > (SELECT pruned FROM device WHERE id = $1::bigint)
          AND seq <= (SELECT least(since_seq, (SELECT min(reach) FROM session WHERE device = $1::bigint)) FROM device WHERE id = $1::bigint)
        ORDER BY seq LIMIT $2::integer
    ) AS l
    WHERE l.at <= now() - $3::bigint * interval '1 millisecond'
)sql"};

// Of each room up to `end`: the newest entry stays, and what a first page of the room at `end` shows, back to a gap. What says nothing but
// who types, or what the state was in between, goes.
const Statement delete_entries{"pruning_delete_entries", R"sql(
    WITH entry AS (
        SELECT seq, room, count(*) OVER newer > 0 AS old,
               coalesce(sum(cardinality(events)) OVER newer, 0) AS events_since,
               coalesce(bool_or(gap) OVER newer, false) AS gap_since,
               cardinality(events) = 0 AND NOT gap AS silent
        FROM log WHERE device = $1::bigint AND room = ANY ($2::bigint[]) AND seq <= $3::bigint
        WINDOW newer AS (PARTITION BY room ORDER BY seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ), deleted AS (
        DELETE FROM log
        WHERE device = $1::bigint
          AND seq = ANY (ARRAY(SELECT seq FROM entry WHERE old AND (gap_since OR silent OR events_since >= $4::integer)))
        RETURNING room
    )
    SELECT coalesce(array_agg(DISTINCT room), '{}') FROM deleted
)sql"};

const Statement set_pruned{"pruning_set_pruned", R"sql(
    UPDATE device SET pruned = $2::bigint WHERE id = $1::bigint
)sql"};

const Statement mark_rooms{"pruning_mark_rooms", R"sql(
    UPDATE room SET sweep = 1
    WHERE id IN (SELECT id FROM room WHERE id = ANY ($1::bigint[]) AND sweep <> 1 ORDER BY room_id FOR UPDATE)
)sql"};

// Rooms that the device left an expiry ago, as every live session has been told, and that no page to come has a place for.
const Statement get_left{"pruning_get_left", R"sql(
    SELECT coalesce(array_agg(room), '{}') FROM (
        SELECT r.room FROM device_room r JOIN device d ON d.id = r.device
        WHERE r.device = $1::bigint AND r.section = 2 AND r.seq <= d.pruned
          AND NOT EXISTS (
              SELECT FROM log l WHERE l.device = $1::bigint AND l.room = r.room AND l.at > now() - $3::bigint * interval '1 millisecond'
              OFFSET 0)
          AND NOT EXISTS (
              SELECT FROM session s JOIN snapshot p ON p.session = s.id WHERE s.device = $1::bigint AND r.room = ANY (p.rooms))
        LIMIT $2::integer
    ) AS l
)sql"};

const Statement get_all{"pruning_get_all", R"sql(
    SELECT coalesce(array_agg(room), '{}') FROM (
        SELECT room FROM device_room WHERE device = $1::bigint ORDER BY room LIMIT $2::integer
    ) AS r
)sql"};

const Statement delete_receipts{"pruning_delete_receipts", R"sql(
    DELETE FROM receipt WHERE device = $1::bigint AND room = ANY ($2::bigint[])
)sql"};
const Statement delete_room_account_data{"pruning_delete_room_account_data", R"sql(
    DELETE FROM room_account_data WHERE device = $1::bigint AND room = ANY ($2::bigint[])
)sql"};
const Statement delete_log{"pruning_delete_log", R"sql(
    DELETE FROM log WHERE device = $1::bigint AND room = ANY ($2::bigint[])
)sql"};
const Statement delete_device_rooms{"pruning_delete_device_rooms", R"sql(
    DELETE FROM device_room WHERE device = $1::bigint AND room = ANY ($2::bigint[])
)sql"};

// Without `since` the next poll is a first poll, and tells everything anew. It is the first to go: whatever the rest of the device is by
// then, that poll makes it whole.
const Statement begin_anew{"pruning_begin_anew", R"sql(
    UPDATE device SET since = NULL
    WHERE id = $1::bigint AND used <= now() - $2::bigint * interval '1 millisecond'
      AND NOT EXISTS (SELECT FROM session WHERE device = $1::bigint)
      AND NOT EXISTS (SELECT FROM worker w WHERE w.id = owner AND w.alive_until > clock_timestamp())
    RETURNING id
)sql"};

const Statement delete_account_data{"pruning_delete_account_data", R"sql(
    DELETE FROM account_data WHERE device = $1::bigint
)sql"};
const Statement delete_aside{"pruning_delete_aside", R"sql(
    DELETE FROM set_aside WHERE device = $1::bigint
)sql"};
const Statement delete_tokens{"pruning_delete_tokens", R"sql(
    DELETE FROM token WHERE device = $1::bigint
)sql"};

// The homeserver has deleted what is kept here of these: they stay, and the device with them, until it comes back.
const Statement delete_device{"pruning_delete_device", R"sql(
    DELETE FROM device
    WHERE id = $1::bigint
      AND NOT EXISTS (SELECT FROM to_device WHERE device = $1::bigint) AND NOT EXISTS (SELECT FROM device_list WHERE device = $1::bigint)
)sql"};

Params of_device(std::int64_t device) {
    Params params;
    params.bigint(device);
    return params;
}

Params in_rooms(std::int64_t device, const std::vector<std::int64_t>& rooms) {
    Params params;
    params.bigint(device).bigints(rooms);
    return params;
}

void send_marks(Sending& sending, const std::vector<std::int64_t>& rooms) {
    Params params;
    params.bigints(rooms);
    if (!rooms.empty()) sending.send(mark_rooms, std::move(params));
}

/// All that the device knows of some rooms.
void forget_rooms(Sending& sending, std::int64_t device, const std::vector<std::int64_t>& rooms) {
    for (const Statement* statement : {&delete_receipts, &delete_room_account_data, &delete_log, &delete_device_rooms}) {
        sending.send(*statement, in_rooms(device, rooms));
    }
    send_marks(sending, rooms);
}

}  // namespace

Task<bool> PostgresPruning::prune_device(Due due, PruneAges ages) {
    bool more = false;
    if (due.log) more = co_await prune_log(due.device, ages);
    if (more) co_return true;
    if (due.left) more = co_await forget_left(due.device, ages);
    if (more) co_return true;
    if (due.unused) more = co_await forget_device(due.device, ages);
    co_return more;
}

Task<bool> PostgresPruning::prune_log(std::int64_t device, PruneAges ages) {
    auto transaction = co_await database_.begin();
    Sending sending(*transaction);
    Params next = of_device(device);
    next.integer(entries_at_once).bigint(ages.settled.count());
    sending.send(lock_pruned, of_device(device));
    Query next_query = sending.ask(get_next, std::move(next));
    Rows found = co_await next_query;
    const std::int64_t end = found.bigint(0, 0);
    if (end == 0) co_return false;

    Params doomed = in_rooms(device, found.bigints(0, 1));
    doomed.bigint(end).integer(most_shown);
    Query delete_query = sending.ask(delete_entries, std::move(doomed));
    Params pruned = of_device(device);
    pruned.bigint(end);
    sending.send(set_pruned, std::move(pruned));
    Rows deleted = co_await delete_query;
    send_marks(sending, deleted.bigints(0, 0));
    co_await sending.commit(false);
    co_return true;
}

Task<bool> PostgresPruning::forget_left(std::int64_t device, PruneAges ages) {
    auto transaction = co_await database_.begin();
    Sending sending(*transaction);
    Params wanted = of_device(device);
    wanted.integer(rooms_in_step).bigint(ages.expiry.count());
    sending.send(lock_pruned, of_device(device));
    Query query = sending.ask(get_left, std::move(wanted));
    Rows found = co_await query;
    const std::vector<std::int64_t> rooms = found.bigints(0, 0);
    if (rooms.empty()) co_return false;
    forget_rooms(sending, device, rooms);
    co_await sending.commit(false);
    co_return true;
}

Task<bool> PostgresPruning::forget_device(std::int64_t device, PruneAges ages) {
    auto transaction = co_await database_.begin();
    Sending sending(*transaction);
    Params unused = of_device(device);
    unused.bigint(ages.expiry.count());
    Params wanted = of_device(device);
    wanted.integer(rooms_in_step);
    sending.send(lock_pruned, of_device(device));
    Query unused_query = sending.ask(begin_anew, std::move(unused));
    Query rooms_query = sending.ask(get_all, std::move(wanted));
    Rows still_unused = co_await unused_query;
    Rows found = co_await rooms_query;
    if (still_unused.empty()) co_return false;
    const std::vector<std::int64_t> rooms = found.bigints(0, 0);
    if (!rooms.empty()) {
        forget_rooms(sending, device, rooms);
    } else {
        for (const Statement* statement : {&delete_account_data, &delete_aside, &delete_tokens, &delete_device}) {
            sending.send(*statement, of_device(device));
        }
    }
    co_await sending.commit(false);
    co_return !rooms.empty();
}

}  // namespace matrix_sync
