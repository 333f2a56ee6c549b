#include "storage/logs.hpp"

#include <algorithm>
#include <limits>

#include "core/classic/answer.hpp"
#include "core/shared_work.hpp"
#include "matrix_sync/error.hpp"
#include "storage/ingest_queue.hpp"
#include "storage/log_rows.hpp"
#include "storage/room_rows.hpp"

namespace matrix_sync {
namespace {

/// Rows of each kind that news() gives at most.
constexpr std::int64_t most_news = 1000;
/// To-device messages are large.
constexpr std::int64_t most_messages = 200;
/// In one transaction.
constexpr std::size_t most_claims = 100;

#define MATRIX_SYNC_DEVICE_COLUMNS "id, user_id, device_id, owner, seq, since"

const Statement get_device{"logs_get_device", "SELECT " MATRIX_SYNC_DEVICE_COLUMNS R"sql(
    FROM device WHERE user_id = $1::text AND device_id = $2::text
)sql"};

const Statement insert_server{"logs_insert_server", R"sql(
    INSERT INTO server (name) VALUES ($1::text) ON CONFLICT DO NOTHING
)sql"};

const Statement get_server{"logs_get_server", R"sql(
    SELECT name FROM server
)sql"};

const Statement insert_device{"logs_insert_device", R"sql(
    INSERT INTO device (user_id, device_id) VALUES ($1::text, $2::text) ON CONFLICT (user_id, device_id) DO NOTHING
)sql"};

// The numbers of the new owner begin behind all that the old one can have given out, and behind what owners gave out of whom a copy of the
// database never heard before it took over, or a backup: hence the seconds since 2025.
const Statement take_devices{"logs_take_devices", R"sql(
    UPDATE device SET owner = claim.worker, epoch = next, seq = next << 32, used = now()
    FROM (SELECT claim.*, greatest(epoch + 1, extract(epoch FROM clock_timestamp())::bigint - 1735689600) AS next
          FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS claim (id, worker, disclaimed) JOIN device USING (id)) AS claim
    WHERE device.id = claim.id
      AND (owner IS NULL OR owner IN (claim.worker, claim.disclaimed)
           OR NOT EXISTS (SELECT FROM worker WHERE worker.id = owner AND alive_until > clock_timestamp()))
    RETURNING device.id, epoch
)sql"};

const Statement get_devices_by_key{"logs_get_devices_by_key", "SELECT " MATRIX_SYNC_DEVICE_COLUMNS R"sql(
    FROM device WHERE id = ANY ($1::bigint[])
)sql"};

const Statement lock_devices{"logs_lock_devices", R"sql(
    SELECT id FROM device WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE
)sql"};

const Statement release_devices{"logs_release_devices", R"sql(
    UPDATE device SET owner = NULL
    FROM unnest($1::bigint[], $2::bigint[]) AS lease (id, epoch)
    WHERE device.id = lease.id AND device.epoch = lease.epoch
)sql"};

const Statement get_end{"logs_get_end", R"sql(
    SELECT seq, since IS NOT NULL, keys_seq, one_time_keys_count, unused_fallback_key_types FROM device WHERE id = $1::bigint
)sql"};

const Statement get_pruned{"logs_get_pruned", R"sql(
    SELECT pruned FROM device WHERE id = $1::bigint
)sql"};

const Statement get_entries{"logs_get_entries", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM (SELECT * FROM log WHERE device = $1::bigint AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint) AS l
    JOIN room r ON r.id = l.room
    ORDER BY l.seq
)sql"};

const Statement get_to_device{"logs_get_to_device", R"sql(
    SELECT seq, body FROM to_device WHERE device = $1::bigint AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
)sql"};

const Statement get_device_lists{"logs_get_device_lists", R"sql(
    SELECT seq, user_id, gone FROM device_list WHERE device = $1::bigint AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
)sql"};

const Statement get_account_data{"logs_get_account_data", R"sql(
    SELECT seq, type, body FROM account_data WHERE device = $1::bigint AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
)sql"};

const Statement get_typing{"logs_get_typing", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM log l
    JOIN room r ON r.id = l.room
    WHERE device = $1::bigint AND (typing IS NOT NULL OR section <> 1) AND at > clock_timestamp() - $2::bigint * interval '1 millisecond'
      AND seq > (SELECT epoch << 32 FROM device WHERE id = $1::bigint)
    ORDER BY l.seq
)sql"};

const Statement get_changed_rooms{"logs_get_changed_rooms", "SELECT " MATRIX_SYNC_ROOM_COLUMNS " FROM " MATRIX_SYNC_ROOM_TABLES R"sql(
    WHERE d.device = $1::bigint AND d.seq > $2::bigint AND d.seq > 0 ORDER BY d.seq
)sql"};

Params of_device(DeviceKey device) {
    Params params;
    params.bigint(device.value);
    return params;
}

Params page(DeviceKey device, Position after, std::int64_t limit) {
    Params params;
    params.bigint(device.value).bigint(after.value).bigint(limit);
    return params;
}

Params after_position(DeviceKey device, Position after) {
    Params params;
    params.bigint(device.value).bigint(after.value);
    return params;
}

DeviceRow read_device(const Rows& rows, std::size_t at = 0) {
    DeviceRow row;
    row.key = DeviceKey{rows.bigint(at, 0)};
    row.user = UserId{std::string(rows.text(at, 1))};
    row.device = DeviceId{std::string(rows.text(at, 2))};
    if (!rows.is_null(at, 3)) row.owner = WorkerKey{rows.bigint(at, 3)};
    row.end = Position{rows.bigint(at, 4)};
    row.whole = !rows.is_null(at, 5);
    return row;
}

ToDeviceMessage read_message(const Rows& rows, std::size_t row) {
    return {Position{rows.bigint(row, 0)}, std::string(rows.text(row, 1))};
}
DeviceListChange read_device_list(const Rows& rows, std::size_t row) {
    return {Position{rows.bigint(row, 0)}, UserId{std::string(rows.text(row, 1))}, rows.boolean(row, 2)};
}
AccountDataEvent read_account_data(const Rows& rows, std::size_t row) {
    return {Position{rows.bigint(row, 0)}, std::string(rows.text(row, 1)), std::string(rows.text(row, 2))};
}

KeyCounts read_key_counts(const Rows& rows) {
    return {Position{rows.bigint(0, 2)}, rows.maybe_text(0, 3), rows.maybe_text(0, 4)};
}

template <class Read>
auto read_all(const Rows& rows, Read read) {
    std::vector<decltype(read(rows, 0))> all;
    for (std::size_t row = 0; row < rows.size(); ++row) all.push_back(read(rows, row));
    return all;
}

/// If there are more rows than asked for, nothing is known of what comes after the last.
template <class T>
Position known_to(const std::vector<T>& rows, std::int64_t most, Position to) {
    if (rows.size() <= static_cast<std::size_t>(most)) return to;
    return std::min(to, rows[static_cast<std::size_t>(most) - 1].seq);
}

template <class T>
void cut(std::vector<T>& rows, Position to) {
    std::erase_if(rows, [&](const T& row) { return row.seq > to; });
}

}  // namespace

PostgresLogs::PostgresLogs(Database& database, Loop& loop, std::function<void(std::string)> log)
    : database_(database),
      loop_(loop),
      log_(std::move(log)),
      user_refused_(loop, [log = log_](LogLevel, const std::string& text) { log(text); }),
      queue_(std::make_unique<IngestQueue>(database, loop, log_)) {}

PostgresLogs::~PostgresLogs() = default;

Task<DeviceRow> PostgresLogs::device(const UserId& user, const DeviceId& device) {
    UserId user_id = user;
    DeviceId device_id = device;
    Params params;
    params.text(user_id.value).text(device_id.value);
    Query query = database_.run(get_device, std::move(params));
    Rows rows = co_await query;
    if (!rows.empty()) co_return read_device(rows);
    co_return co_await add_device(std::move(user_id), std::move(device_id));
}

/// A database belongs to the homeserver of its first user: rule 34.
Task<DeviceRow> PostgresLogs::add_device(UserId user, DeviceId device) {
    const std::size_t colon = user.value.find(':');
    const std::string server = colon == std::string::npos ? "" : user.value.substr(colon + 1);
    if (server.empty()) throw MatrixError(403, "M_FORBIDDEN", "The access token is of no user of a homeserver");
    auto transaction = co_await database_.begin();
    Params name;
    name.text(server);
    Params key;
    key.text(user.value).text(device.value);
    Query inserted_server = transaction->run(insert_server, std::move(name));
    co_await inserted_server;
    Query server_query = transaction->run(get_server, Params{});
    Rows servers = co_await server_query;
    if (servers.text(0, 0) != server) {
        const std::string owner(servers.text(0, 0));
        user_refused_.write(LogLevel::warn, "user " + user.value + " is refused: this database belongs to the homeserver " + owner +
                                                "; give the locations of each homeserver a database of its own (matrix_sync_database)");
        throw MatrixError(403, "M_FORBIDDEN", "This server serves users of another homeserver");
    }
    Query inserted = transaction->run(insert_device, key);
    co_await inserted;
    Query device_query = transaction->run(get_device, key);
    Rows rows = co_await device_query;
    co_await transaction->commit(true);
    co_return read_device(rows);
}

/// Claims that share a transaction.
struct PostgresLogs::Claims : SharedWork<std::shared_ptr<const Claimed>> {
    using SharedWork::SharedWork;
    Claimants claimants;
};

Task<LogStore::Claim> PostgresLogs::claim(DeviceKey device, WorkerKey worker, WorkerKey disclaimed) {
    const Claimant claimant{worker, disclaimed};
    std::shared_ptr<Claims> claims = gathering_.lock();
    const bool join = claims && !claims->ended() && claims->claimants.size() < most_claims;
    if (!join) gathering_ = claims = std::make_shared<Claims>(loop_);
    claims->claimants.insert_or_assign(device, claimant);
    if (!join) claims->start(claim_together(claims.get()));
    try {
        std::shared_ptr<const Claimed> claimed = co_await Claims::result(claims);
        co_return claimed->at(device);
    } catch (const StatementFailed&) {
        if (claims->claimants.size() == 1) throw;
    }
    // One that cannot be had must not keep the others from being claimed.
    Claimants alone;
    alone.emplace(device, claimant);
    auto transaction = co_await database_.begin();
    Claimed claimed = co_await claim_all(std::move(transaction), std::move(alone));
    co_return std::move(claimed.at(device));
}

Task<std::shared_ptr<const PostgresLogs::Claimed>> PostgresLogs::claim_together(Claims* claims) {
    auto transaction = co_await database_.begin();
    if (gathering_.lock().get() == claims) gathering_.reset();
    Claimants claimants = claims->claimants;
    Claimed claimed = co_await claim_all(std::move(transaction), std::move(claimants));
    co_return std::make_shared<const Claimed>(std::move(claimed));
}

Task<PostgresLogs::Claimed> PostgresLogs::claim_all(std::unique_ptr<Transaction> transaction, Claimants claimants) {
    std::vector<std::int64_t> devices;
    std::vector<std::int64_t> workers;
    std::vector<std::int64_t> disclaimed;
    for (const auto& [device, claimant] : claimants) {
        devices.push_back(device.value);
        workers.push_back(claimant.worker.value);
        disclaimed.push_back(claimant.disclaimed.value);
    }
    Params ids;
    ids.bigints(devices);
    Params taken_by;
    taken_by.bigints(devices).bigints(workers).bigints(disclaimed);
    Query lock_query = transaction->run(lock_devices, ids);
    Query take_query = transaction->run(take_devices, std::move(taken_by));
    Query rows_query = transaction->run(get_devices_by_key, ids);
    co_await lock_query;
    Rows taken = co_await take_query;
    Rows rows = co_await rows_query;
    // Durable: a number must not be given out again by another owner of the same epoch.
    co_await transaction->commit(true);

    Claimed claimed;
    for (const auto& [device, claimant] : claimants) claimed[device];
    for (std::size_t row = 0; row < rows.size(); ++row) {
        Claim& claim = claimed[DeviceKey{rows.bigint(row, 0)}];
        claim.row = read_device(rows, row);
        claim.since = rows.maybe_text(row, 5);
    }
    for (std::size_t row = 0; row < taken.size(); ++row) {
        const DeviceKey device{taken.bigint(row, 0)};
        claimed[device].lease.emplace(Lease{device, taken.bigint(row, 1)});
    }
    co_return claimed;
}

Task<void> PostgresLogs::release(std::vector<Lease> leases) {
    if (leases.empty()) co_return;
    std::vector<std::int64_t> devices;
    std::vector<std::int64_t> epochs;
    for (const Lease& lease : leases) {
        devices.push_back(lease.device.value);
        epochs.push_back(lease.epoch);
    }
    Params ids;
    ids.bigints(devices);
    Params released;
    released.bigints(devices).bigints(epochs);
    auto transaction = co_await database_.begin();
    Query lock_query = transaction->run(lock_devices, std::move(ids));
    Query release_query = transaction->run(release_devices, std::move(released));
    co_await lock_query;
    co_await release_query;
    co_await transaction->commit(false);
}

Task<LogStore::Ingested> PostgresLogs::ingest(Piece piece) {
    Delivery delivery;
    delivery.piece = std::move(piece);
    co_return co_await queue_->ingest(std::move(delivery));
}

Task<LogStore::Ingested> PostgresLogs::ingest_aside(Lease lease, std::optional<Position> end, RoomId room, std::vector<Event> state) {
    Delivery delivery;
    delivery.piece.lease = lease;
    delivery.piece.end = end;
    delivery.retry.emplace();
    delivery.retry->room = std::move(room);
    delivery.retry->state = std::move(state);
    co_return co_await queue_->ingest(std::move(delivery));
}

Task<News> PostgresLogs::news(DeviceKey device, Position after) {
    Query end_query = database_.run(get_end, of_device(device));
    Query entries_query = database_.run(get_entries, page(device, after, most_news + 1));
    Query rooms_query = database_.run(get_changed_rooms, after_position(device, after));
    Query messages_query = database_.run(get_to_device, page(device, after, most_messages + 1));
    Query lists_query = database_.run(get_device_lists, page(device, after, most_news + 1));
    Query data_query = database_.run(get_account_data, page(device, after, most_news + 1));
    Query pruned_query = database_.run(get_pruned, of_device(device));
    Rows end = co_await end_query;
    Rows entries = co_await entries_query;
    Rows rooms = co_await rooms_query;
    Rows messages = co_await messages_query;
    Rows lists = co_await lists_query;
    Rows data = co_await data_query;
    Rows pruned = co_await pruned_query;

    News news;
    news.from = news.to = after;
    if (end.empty()) co_return news;
    news.whole = end.boolean(0, 1);
    if (!pruned.empty()) news.from = std::max(after, Position{pruned.bigint(0, 0)});
    news.entries = read_entries(entries);
    news.rooms = read_rooms(rooms);
    news.to_device = read_all(messages, read_message);
    news.device_lists = read_all(lists, read_device_list);
    news.account_data = read_all(data, read_account_data);

    // The end was read first: up to it the others are complete, whatever was added meanwhile. Rooms may be ahead of it, and all are there:
    // of one that were left out, what an entry up to the end has changed would be missed.
    Position to = std::max(after, Position{end.bigint(0, 0)});
    to = known_to(news.entries, most_news, to);
    to = known_to(news.to_device, most_messages, to);
    to = known_to(news.device_lists, most_news, to);
    to = known_to(news.account_data, most_news, to);
    cut(news.entries, to);
    cut(news.to_device, to);
    cut(news.device_lists, to);
    cut(news.account_data, to);
    news.to = to;
    KeyCounts counts = read_key_counts(end);
    if (counts.seq > after && counts.seq <= to) news.key_counts = std::move(counts);
    co_return news;
}

Task<std::vector<ToDeviceMessage>> PostgresLogs::to_device(DeviceKey device, Position after, int limit) {
    Query query = database_.run(get_to_device, page(device, after, limit));
    Rows rows = co_await query;
    co_return read_all(rows, read_message);
}

Task<std::vector<DeviceListChange>> PostgresLogs::device_lists(DeviceKey device, Position after) {
    Query query = database_.run(get_device_lists, page(device, after, std::numeric_limits<std::int64_t>::max()));
    Rows rows = co_await query;
    co_return read_all(rows, read_device_list);
}

Task<std::vector<AccountDataEvent>> PostgresLogs::account_data(DeviceKey device, Position after) {
    Query query = database_.run(get_account_data, page(device, after, std::numeric_limits<std::int64_t>::max()));
    Rows rows = co_await query;
    co_return read_all(rows, read_account_data);
}

Task<KeyCounts> PostgresLogs::key_counts(DeviceKey device) {
    Query query = database_.run(get_end, of_device(device));
    Rows rows = co_await query;
    co_return rows.empty() ? KeyCounts{} : read_key_counts(rows);
}

Task<std::vector<Entry>> PostgresLogs::typing(DeviceKey device, Milliseconds max_age) {
    Params params;
    params.bigint(device.value).bigint(max_age.count());
    Query query = database_.run(get_typing, std::move(params));
    Rows rows = co_await query;
    co_return read_entries(rows);
}

}  // namespace matrix_sync
