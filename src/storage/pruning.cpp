#include "storage/pruning.hpp"

#include <algorithm>

namespace matrix_sync {

namespace {

constexpr Milliseconds longest_settling{3'600'000};
/// A worker that says nothing for this long does not prune any more.
constexpr Milliseconds pass_lease{60'000};
constexpr Milliseconds keep_every{20'000};
/// Passes begin so many times in the time that things need to settle.
constexpr int passes = 6;
constexpr std::int32_t devices_at_once = 200;

const Statement claim_pass{"pruning_claim", R"sql(
    UPDATE pruning SET free_at = now() + $1::bigint * interval '1 millisecond' WHERE free_at <= now() RETURNING sole
)sql"};

const Statement keep_pass_statement{"pruning_keep", R"sql(
    UPDATE pruning SET free_at = now() + $1::bigint * interval '1 millisecond'
)sql"};

// For each of the next devices, whether its log, rooms that it left, or all of it may be due; looked at again under its lock.
const Statement get_devices{"pruning_get_devices", R"sql(
    SELECT d.id,
           coalesce((
               SELECT l.seq <= d.since_seq AND l.seq <= coalesce(s.reach, l.seq) AND l.at <= now() - $4::bigint * interval '1 millisecond'
               FROM log l WHERE l.device = d.id AND l.seq > d.pruned ORDER BY l.seq LIMIT 1), false),
           EXISTS (SELECT FROM device_room r WHERE r.device = d.id AND r.section = 2 AND r.seq <= d.pruned),
           s.reach IS NULL AND d.used <= now() - $3::bigint * interval '1 millisecond'
               AND NOT EXISTS (SELECT FROM worker w WHERE w.id = d.owner AND w.alive_until > clock_timestamp())
               AND (d.since IS NOT NULL
                    OR EXISTS (SELECT FROM device_room r WHERE r.device = d.id)
                    OR EXISTS (SELECT FROM account_data a WHERE a.device = d.id)
                    OR EXISTS (SELECT FROM token t WHERE t.device = d.id)
                    OR NOT EXISTS (SELECT FROM to_device m WHERE m.device = d.id)
                       AND NOT EXISTS (SELECT FROM device_list c WHERE c.device = d.id))
    FROM (SELECT * FROM device WHERE id > $1::bigint ORDER BY id LIMIT $2::integer) AS d
    LEFT JOIN LATERAL (SELECT min(reach) AS reach FROM session WHERE session.device = d.id) AS s ON true
    ORDER BY d.id
)sql"};

}  // namespace

Task<bool> PostgresPruning::prune(Milliseconds expiry) {
    const PruneAges ages{expiry, std::min(expiry, longest_settling)};
    if (!in_pass_) {
        const bool begun = co_await begin_pass();
        if (!begun) co_return false;
    }
    if (loop_.now() - kept_ >= keep_every) co_await keep_pass(pass_lease);
    if (due_.empty() && !devices_done_) {
        co_await find_devices(ages);
        co_return true;
    }
    if (!due_.empty()) {
        const Due due = due_.back();
        due_.pop_back();
        const bool more = co_await prune_device(due, ages);
        if (more) due_.push_back(due);
        co_return true;
    }
    const bool more = co_await sweep_room(ages);
    if (more) co_return true;
    in_pass_ = false;
    co_await keep_pass(ages.settled / passes);
    co_return false;
}

Task<bool> PostgresPruning::begin_pass() {
    Rows claimed = co_await database_.run(claim_pass, Params().bigint(pass_lease.count()));
    if (claimed.empty()) co_return false;
    kept_ = loop_.now();
    in_pass_ = true;
    devices_done_ = false;
    device_ = 0;
    due_.clear();
    co_return true;
}

Task<void> PostgresPruning::keep_pass(Milliseconds free_after) {
    kept_ = loop_.now();
    co_await database_.run(keep_pass_statement, Params().bigint(free_after.count()));
}

Task<void> PostgresPruning::find_devices(PruneAges ages) {
    Params params;
    params.bigint(device_).integer(devices_at_once).bigint(ages.expiry.count()).bigint(ages.settled.count());
    Rows rows = co_await alone(get_devices, std::move(params));
    for (std::size_t row = rows.size(); row-- > 0;) {
        const Due due{rows.bigint(row, 0), rows.boolean(row, 1), rows.boolean(row, 2), rows.boolean(row, 3)};
        if (due.log || due.left || due.unused) due_.push_back(due);
    }
    devices_done_ = rows.size() < static_cast<std::size_t>(devices_at_once);
    if (!rows.empty()) device_ = rows.bigint(rows.size() - 1, 0);
}

Task<Rows> PostgresPruning::alone(const Statement& statement, Params params) {
    auto transaction = co_await database_.begin();
    Query query = transaction->run(statement, std::move(params));
    Rows rows = co_await query;
    co_await transaction->commit(false);
    co_return rows;
}

}  // namespace matrix_sync
