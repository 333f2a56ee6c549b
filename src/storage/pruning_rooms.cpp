// Sweeping a room: what of it nothing points to any more. What has been found so twice, a while apart, goes (unused.hpp): first the states,
// then the events, those of the states that are left being pointed to.
#include <algorithm>

#include "storage/ingest_sending.hpp"
#include "storage/pruning.hpp"

namespace matrix_sync {

namespace {

/// Rows of each kind that one transaction changes.
constexpr std::int32_t rows_at_once = 1000;
/// Rows that one look finds; the others are found when the room is swept again.
constexpr std::int32_t most_found = 20'000;

// Who takes it has the room for as long as things need to settle.
const Statement claim_room{"pruning_claim_room", R"sql(
    UPDATE room SET sweep = 2, swept = now() WHERE id = (
        SELECT id FROM room WHERE sweep > 0 AND swept <= now() - $1::bigint * interval '1 millisecond' ORDER BY swept LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, unused, EXISTS (SELECT FROM log WHERE log.room = room.id)
)sql"};

const Statement set_room{"pruning_set_room", R"sql(
    UPDATE room SET unused = $2::boolean, sweep = CASE WHEN sweep = 2 AND NOT $3::boolean THEN 0 ELSE 1 END WHERE id = $1::bigint
)sql"};

// Of a room that is unused nobody takes anything without this lock: to use it again, the room comes first.
const Statement lock_unused{"pruning_lock_unused", R"sql(
    SELECT id FROM room WHERE id = $1::bigint AND unused FOR UPDATE SKIP LOCKED
)sql"};

const Statement empty_room{"pruning_empty_room", R"sql(
    WITH events AS (
        DELETE FROM event WHERE ref = ANY (ARRAY(SELECT ref FROM event WHERE room = $1::bigint LIMIT $2::integer)) RETURNING 1
    ), states AS (
        DELETE FROM room_state WHERE id = ANY (ARRAY(SELECT id FROM room_state WHERE room = $1::bigint LIMIT $2::integer)) RETURNING 1
    ), redactions AS (
        DELETE FROM redaction WHERE room = $1::bigint AND target = ANY (
            ARRAY(SELECT target FROM redaction WHERE room = $1::bigint LIMIT $2::integer)) RETURNING 1
    ), members AS (
        DELETE FROM member WHERE ctid = ANY (ARRAY(SELECT ctid FROM member WHERE room = $1::bigint LIMIT $2::integer)) RETURNING 1
    )
    SELECT greatest((SELECT count(*) FROM events), (SELECT count(*) FROM states),
                    (SELECT count(*) FROM redactions), (SELECT count(*) FROM members)) = $2::integer
)sql"};

// What is left of its members until the room itself is gone is no whole list.
const Statement doubt_list{"pruning_doubt_list", R"sql(
    UPDATE member_list SET doubt = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE room = $1::bigint
)sql"};

const Statement delete_list{"pruning_delete_list", R"sql(
    DELETE FROM member_list WHERE room = $1::bigint
)sql"};

const Statement delete_room_statement{"pruning_delete_room", R"sql(
    DELETE FROM room WHERE id = $1::bigint
)sql"};

// Rows that a list read lately, or the first page of a live session, is not made of. The last row of a user stays: it says that the user
// has gone, to who has an older list.
const Statement delete_members{"pruning_delete_members", R"sql(
    WITH deleted AS (
        DELETE FROM member WHERE ctid = ANY (ARRAY(
            SELECT m.ctid FROM member m JOIN member_list l ON l.room = m.room
            WHERE m.room = $1::bigint AND m.until <= l.swept
              AND m.until <= coalesce((SELECT min(version) FROM snapshot WHERE room = $1::bigint AND room <> 0), m.until)
              AND EXISTS (SELECT FROM member n WHERE n.room = m.room AND n.user_id = m.user_id AND n.since >= m.until OFFSET 0)
            LIMIT $2::integer
        )) RETURNING 1
    )
    SELECT count(*) = $2::integer FROM deleted
)sql"};

const Statement set_list_swept{"pruning_set_list_swept", R"sql(
    UPDATE member_list SET swept = version WHERE room = $1::bigint AND swept <> version
)sql"};

const Statement find_states{"pruning_find_states", R"sql(
    SELECT id, unused FROM room_state WHERE id = ANY (ARRAY(
        SELECT id FROM room_state WHERE room = $1::bigint
        EXCEPT (
            SELECT state FROM log WHERE room = $1::bigint
            UNION ALL SELECT parent FROM room_state WHERE room = $1::bigint
            UNION ALL
            SELECT (SELECT state FROM device_room WHERE device = l.device AND room = $1::bigint)
            FROM (SELECT DISTINCT device FROM log WHERE room = $1::bigint) AS l
        )
        LIMIT $2::integer
    ))
)sql"};

const Statement mark_states{"pruning_mark_states", R"sql(
    UPDATE room_state SET unused = true WHERE id IN (SELECT id FROM room_state WHERE id = ANY ($1::bigint[]) FOR UPDATE SKIP LOCKED)
)sql"};

const Statement delete_states{"pruning_delete_states", R"sql(
    DELETE FROM room_state
    WHERE id IN (SELECT id FROM room_state WHERE id = ANY ($1::bigint[]) AND unused FOR UPDATE SKIP LOCKED)
)sql"};

// A redaction stays with its room: what it redacts may come again.
const Statement find_events{"pruning_find_events", R"sql(
    SELECT ref, unused FROM event WHERE ref = ANY (ARRAY(
        SELECT ref FROM event WHERE room = $1::bigint
        EXCEPT (
            SELECT unnest(events) FROM log WHERE room = $1::bigint
            UNION ALL SELECT unnest(refs) FROM room_state WHERE room = $1::bigint
            UNION ALL SELECT ref FROM member WHERE room = $1::bigint
            UNION ALL SELECT ref FROM redaction WHERE room = $1::bigint
            UNION ALL SELECT unnest(ARRAY[power_levels, creation]) FROM snapshot WHERE room = $1::bigint AND room <> 0
        )
        LIMIT $2::integer
    ))
)sql"};

const Statement mark_events{"pruning_mark_events", R"sql(
    UPDATE event SET unused = true WHERE ref IN (SELECT ref FROM event WHERE ref = ANY ($1::bigint[]) FOR UPDATE SKIP LOCKED)
)sql"};

const Statement delete_events{"pruning_delete_events", R"sql(
    DELETE FROM event WHERE ref IN (SELECT ref FROM event WHERE ref = ANY ($1::bigint[]) AND unused FOR UPDATE SKIP LOCKED)
)sql"};

Params of(std::int64_t number) {
    Params params;
    params.bigint(number);
    return params;
}

Params some_of(std::int64_t room, std::int32_t most) {
    Params params;
    params.bigint(room).integer(most);
    return params;
}

}  // namespace

/// One room; false when none is due.
Task<bool> PostgresPruning::sweep_room(PruneAges ages) {
    Rows claimed = co_await alone(claim_room, of(ages.settled.count()));
    if (claimed.empty()) co_return false;
    const std::int64_t room = claimed.bigint(0, 0);
    const bool was_unused = claimed.boolean(0, 1);
    const bool used = claimed.boolean(0, 2);
    if (!used && was_unused) {
        co_await delete_room(room);
        co_return true;
    }
    bool again = !used;
    if (used) {
        co_await sweep_members(room);
        const bool unused_states = co_await sweep_states(room);
        const bool unused_events = co_await sweep_events(room);
        again = unused_states || unused_events;
    }
    Params result = of(room);
    result.boolean(!used).boolean(again);
    co_await alone(set_room, std::move(result));
    co_return true;
}

/// Nobody has it in a log, and when it was last swept nobody had.
Task<void> PostgresPruning::delete_room(std::int64_t room) {
    for (bool more = true; more;) {
        auto transaction = co_await database_.begin();
        Sending sending(*transaction);
        Query lock_query = sending.ask(lock_unused, of(room));
        Rows locked = co_await lock_query;
        if (locked.empty()) co_return;
        sending.send(doubt_list, of(room));
        Query query = sending.ask(empty_room, some_of(room, rows_at_once));
        Rows emptied = co_await query;
        more = emptied.boolean(0, 0);
        if (!more) {
            sending.send(delete_list, of(room));
            sending.send(delete_room_statement, of(room));
        }
        co_await sending.commit(false);
    }
}

Task<void> PostgresPruning::sweep_members(std::int64_t room) {
    for (bool more = true; more;) {
        Rows deleted = co_await alone(delete_members, some_of(room, rows_at_once));
        more = deleted.boolean(0, 0);
    }
    co_await alone(set_list_swept, of(room));
}

/// As the next: says whether there are some to be deleted next time.
Task<bool> PostgresPruning::sweep_states(std::int64_t room) {
    Rows found = co_await alone(find_states, some_of(room, most_found));
    const bool some = co_await sweep_found(found, mark_states, delete_states);
    co_return some;
}

Task<bool> PostgresPruning::sweep_events(std::int64_t room) {
    Rows found = co_await alone(find_events, some_of(room, most_found));
    const bool some = co_await sweep_found(found, mark_events, delete_events);
    co_return some;
}

/// Deletes those that had been marked, and marks the others.
Task<bool> PostgresPruning::sweep_found(const Rows& found, const Statement& mark, const Statement& remove) {
    for (std::size_t begin = 0; begin < found.size(); begin += static_cast<std::size_t>(rows_at_once)) {
        std::vector<std::int64_t> marked;
        std::vector<std::int64_t> unmarked;
        for (std::size_t row = begin; row < std::min(found.size(), begin + static_cast<std::size_t>(rows_at_once)); ++row) {
            (found.boolean(row, 1) ? marked : unmarked).push_back(found.bigint(row, 0));
        }
        Params gone;
        gone.bigints(marked);
        if (!marked.empty()) co_await alone(remove, std::move(gone));
        Params unused;
        unused.bigints(unmarked);
        if (!unmarked.empty()) co_await alone(mark, std::move(unused));
    }
    co_return found.size() > 0;
}

}  // namespace matrix_sync
