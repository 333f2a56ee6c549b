// Every transaction that changes sessions locks the device's row first, by a statement of its own: those that follow see all that others
// did to its sessions, so what is deleted is what really nobody holds back.
#include "storage/sessions.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

/// So many devices are locked by one transaction at most.
constexpr std::size_t touch_batch = 100;

const Statement lock_device{"session_lock_device", R"sql(
    SELECT id FROM device WHERE id = $1::bigint FOR UPDATE
)sql"};

const Statement lock_device_of{"session_lock_device_of", R"sql(
    SELECT id FROM device WHERE id = (SELECT device FROM session WHERE id = $1::uuid) FOR UPDATE
)sql"};

const Statement lock_devices_of{"session_lock_devices", R"sql(
    SELECT id FROM device
    WHERE id IN (SELECT unnest($1::bigint[]) UNION SELECT device FROM session WHERE id = ANY ($2::text[]::uuid[]))
    ORDER BY id FOR UPDATE
)sql"};

const Statement insert_session{"session_insert", R"sql(
    WITH opened AS (
        INSERT INTO session (device, to_device, e2ee, reach)
        VALUES ($1::bigint, $2::bigint, $3::bigint, $5::bigint)
        RETURNING id
    ), first AS (
        INSERT INTO filter (session, number, body) SELECT id, 1, $4::text FROM opened
    ), used AS (
        UPDATE device SET used = now() WHERE id = $1::bigint
    )
    SELECT id FROM opened
)sql"};

const Statement drop_unused{"session_drop_unused", R"sql(
    DELETE FROM session WHERE id IN (
        SELECT id FROM session WHERE device = $1::bigint AND id <> $2::uuid
        ORDER BY used DESC, id OFFSET greatest($3::integer - 1, 0)
    )
    RETURNING id
)sql"};

const Statement get_session{"session_get", R"sql(
    SELECT device, to_device, e2ee, reach FROM session
    WHERE id = $1::uuid AND used > now() - $2::bigint * interval '1 millisecond'
)sql"};

const Statement get_filter{"session_get_filter", R"sql(
    SELECT body FROM filter WHERE session = $1::uuid AND number = $2::integer
)sql"};

// A client that comes with ever new parameters for the same token keeps the newest hundred.
const Statement drop_filters{"session_drop_filters", R"sql(
    DELETE FROM filter
    WHERE session = $1::uuid AND number <> $2::integer
      AND (number < $2::integer OR number <= (SELECT max(number) FROM filter WHERE session = $1::uuid) - 100)
)sql"};

const Statement find_filter{"session_find_filter", R"sql(
    SELECT number FROM filter WHERE session = $1::uuid AND number > $2::integer AND body = $3::text ORDER BY number LIMIT 1
)sql"};

const Statement insert_filter{"session_insert_filter", R"sql(
    INSERT INTO filter (session, number, body)
    SELECT session.id, greatest(max(filter.number), $2::integer) + 1, $3::text
    FROM session LEFT JOIN filter ON filter.session = session.id
    WHERE session.id = $1::uuid
    GROUP BY session.id
    RETURNING number
)sql"};

// A number beyond the log's end is one that PostgreSQL lost in a crash, or none of ours: it counts as the end. greatest() passes NULL over.
const Statement set_acknowledged{"session_acknowledge", R"sql(
    WITH updated AS (
        UPDATE session SET
            to_device = CASE WHEN $3::bigint IS NOT NULL THEN greatest(old.to_device, least($3::bigint, device.seq)) END,
            e2ee = CASE WHEN $4::bigint IS NOT NULL THEN greatest(old.e2ee, least($4::bigint, device.seq)) END
        FROM session AS old, device
        WHERE session.id = $1::uuid AND session.device = $2::bigint AND old.id = session.id AND device.id = session.device
        RETURNING session.device, session.to_device, session.e2ee,
            old.to_device IS NULL AND session.to_device IS NOT NULL OR old.e2ee IS NULL AND session.e2ee IS NOT NULL AS started
    ), raised AS (
        UPDATE device SET
            to_device_acked = greatest(device.to_device_acked, updated.to_device),
            e2ee_acked = greatest(device.e2ee_acked, updated.e2ee)
        FROM updated WHERE device.id = updated.device
    )
    SELECT started FROM updated
)sql"};

// least() passes NULL over: where no session asks for the stream, what one has acknowledged goes.
const Statement delete_to_device{"session_delete_to_device", R"sql(
    DELETE FROM to_device
    WHERE device = $1::bigint AND seq <= (
        SELECT least(to_device_acked, (SELECT min(to_device) FROM session WHERE device = $1::bigint)) FROM device WHERE id = $1::bigint)
)sql"};

const Statement delete_device_lists{"session_delete_device_lists", R"sql(
    DELETE FROM device_list
    WHERE device = $1::bigint AND seq <= (
        SELECT least(e2ee_acked, (SELECT min(e2ee) FROM session WHERE device = $1::bigint)) FROM device WHERE id = $1::bigint)
)sql"};

const Statement touch_devices{"session_touch_devices", R"sql(
    UPDATE device SET used = now() WHERE id = ANY ($1::bigint[])
)sql"};

const Statement touch_sessions{"session_touch", R"sql(
    UPDATE session SET used = now(), reach = w.reach
    FROM unnest($1::text[]::uuid[], $2::bigint[]) AS w (id, reach)
    WHERE session.id = w.id
    RETURNING session.id
)sql"};

const Statement find_expired{"session_find_expired", R"sql(
    SELECT id, device FROM session WHERE used <= now() - $1::bigint * interval '1 millisecond' ORDER BY used LIMIT $2::integer
)sql"};

const Statement delete_expired{"session_delete_expired", R"sql(
    DELETE FROM session
    WHERE device = $1::bigint AND id = ANY ($2::text[]::uuid[]) AND used <= now() - $3::bigint * interval '1 millisecond'
    RETURNING id
)sql"};

const Statement delete_e2ee{"session_delete_e2ee", R"sql(
    DELETE FROM session WHERE device = $1::bigint AND e2ee IS NOT NULL RETURNING id
)sql"};

const Statement device_in_use{"session_device_in_use", R"sql(
    SELECT id FROM device WHERE id = $1::bigint AND used > now() - $2::bigint * interval '1 millisecond'
)sql"};

Params& position(Params& params, std::optional<Position> value) {
    return value ? params.bigint(value->value) : params.null();
}

std::optional<Position> position(const Rows& rows, std::size_t column) {
    if (rows.is_null(0, column)) return std::nullopt;
    return Position{rows.bigint(0, column)};
}

std::vector<SessionId> ids(const Rows& rows) {
    std::vector<SessionId> result;
    for (std::size_t row = 0; row < rows.size(); ++row) result.emplace_back(rows.uuid(row, 0));
    return result;
}

/// None when the text is no UUID, and so names no session.
std::optional<Params> session_params(const SessionId& id) {
    try {
        return std::move(Params().uuid(id.value));
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

/// The device's row is locked by this transaction.
Task<void> delete_acknowledged(Transaction& transaction, DeviceKey device) {
    Query to_device = transaction.run(delete_to_device, Params().bigint(device.value));
    Query device_lists = transaction.run(delete_device_lists, Params().bigint(device.value));
    co_await to_device;
    co_await device_lists;
}

}  // namespace

Task<SessionStore::Opened> PostgresSessions::open(DeviceKey device, std::string filter, Acknowledged asks, Position reach, int most) {
    auto transaction = co_await database_.begin();
    Rows locked = co_await transaction->run(lock_device, Params().bigint(device.value));
    if (locked.empty()) throw StatementFailed("02000", "device " + std::to_string(device.value) + " is gone");

    Params values;
    values.bigint(device.value);
    position(values, asks.to_device);
    position(values, asks.e2ee);
    values.text(filter).bigint(reach.value);
    Rows inserted = co_await transaction->run(insert_session, values);
    Opened opened;
    opened.id = SessionId(inserted.uuid(0, 0));

    Rows dropped = co_await transaction->run(drop_unused, Params().bigint(device.value).uuid(opened.id.value).integer(most));
    opened.dropped = ids(dropped);
    if (!opened.dropped.empty()) co_await delete_acknowledged(*transaction, device);
    co_await transaction->commit(true);
    co_return opened;
}

Task<std::optional<SessionRow>> PostgresSessions::session(const SessionId& id, Milliseconds expiry) {
    auto values = session_params(id);
    if (!values) co_return std::nullopt;
    values->bigint(expiry.count());
    Rows rows = co_await database_.run(get_session, *values);
    if (rows.empty()) co_return std::nullopt;

    SessionRow row;
    row.id = id;
    row.device = DeviceKey{rows.bigint(0, 0)};
    row.acknowledged.to_device = position(rows, 1);
    row.acknowledged.e2ee = position(rows, 2);
    row.reach = Position{rows.bigint(0, 3)};
    co_return row;
}

Task<std::optional<std::string>> PostgresSessions::filter(const SessionId& id, int number) {
    auto values = session_params(id);
    if (!values) co_return std::nullopt;
    values->integer(number);
    Rows rows = co_await database_.run(get_filter, *values);
    if (rows.empty()) co_return std::nullopt;
    co_return std::string(rows.text(0, 0));
}

// Durable: a number that a token carries never comes to mean another filter.
Task<std::optional<int>> PostgresSessions::add_filter(const SessionId& id, int base, std::string filter) {
    auto values = session_params(id);
    if (!values) co_return std::nullopt;
    auto transaction = co_await database_.begin();
    Rows locked = co_await transaction->run(lock_device_of, *values);
    if (locked.empty()) co_return std::nullopt;

    values->integer(base);
    co_await transaction->run(drop_filters, *values);
    values->text(filter);
    Rows number = co_await transaction->run(find_filter, *values);
    if (number.empty()) number = co_await transaction->run(insert_filter, *values);
    if (number.empty()) co_return std::nullopt;
    co_await transaction->commit(true);
    co_return number.integer(0, 0);
}

// What is lost of it in a crash is acknowledged again, with what it deleted still there. A session that starts asking must not be
// forgotten: it holds back what others have acknowledged.
Task<bool> PostgresSessions::acknowledge(const SessionId& id, DeviceKey device, Acknowledged acknowledged) {
    auto values = session_params(id);
    if (!values) co_return false;
    values->bigint(device.value);
    position(*values, acknowledged.to_device);
    position(*values, acknowledged.e2ee);

    auto transaction = co_await database_.begin();
    Query lock = transaction->run(lock_device, Params().bigint(device.value));
    Query update = transaction->run(set_acknowledged, *values);
    co_await lock;
    Rows updated = co_await update;
    if (updated.empty()) co_return false;
    co_await delete_acknowledged(*transaction, device);
    co_await transaction->commit(updated.boolean(0, 0));
    co_return true;
}

Task<std::vector<SessionId>> PostgresSessions::touch(std::vector<UsedSession> sessions, std::vector<DeviceKey> devices) {
    std::vector<SessionId> gone;
    for (std::size_t from = 0; from < std::max(sessions.size(), devices.size()); from += touch_batch) {
        std::vector<std::string> some_sessions;
        std::vector<std::int64_t> reaches;
        std::vector<std::int64_t> some_devices;
        for (std::size_t at = from; at < std::min(from + touch_batch, sessions.size()); ++at) {
            some_sessions.push_back(sessions[at].id.value);
            reaches.push_back(sessions[at].reach.value);
        }
        for (std::size_t at = from; at < std::min(from + touch_batch, devices.size()); ++at) some_devices.push_back(devices[at].value);
        std::vector<SessionId> some = co_await touch_some(std::move(some_sessions), std::move(reaches), std::move(some_devices));
        gone.insert(gone.end(), some.begin(), some.end());
    }
    co_return gone;
}

Task<std::vector<SessionId>> PostgresSessions::touch_some(std::vector<std::string> sessions, std::vector<std::int64_t> reaches,
                                                          std::vector<std::int64_t> devices) {
    auto transaction = co_await database_.begin();
    Query lock = transaction->run(lock_devices_of, Params().bigints(devices).texts(sessions));
    Query touched_devices = transaction->run(touch_devices, Params().bigints(devices));
    Query touched_sessions = transaction->run(touch_sessions, Params().texts(sessions).bigints(reaches));
    co_await lock;
    co_await touched_devices;
    Rows touched = co_await touched_sessions;
    co_await transaction->commit(false);
    std::set<SessionId> gone(sessions.begin(), sessions.end());
    for (const SessionId& id : ids(touched)) gone.erase(id);
    co_return std::vector<SessionId>(gone.begin(), gone.end());
}

Task<std::vector<SessionId>> PostgresSessions::expire(Milliseconds expiry, int most) {
    std::vector<SessionId> expired;
    while (static_cast<int>(expired.size()) < most) {
        // Those that another worker expires first are gone when looked for again.
        auto lacking = most - static_cast<std::int32_t>(expired.size());
        Rows found = co_await database_.run(find_expired, Params().bigint(expiry.count()).integer(lacking));
        if (found.empty()) break;

        std::map<DeviceKey, std::vector<std::string>> candidates;
        for (std::size_t row = 0; row < found.size(); ++row) candidates[DeviceKey{found.bigint(row, 1)}].push_back(found.uuid(row, 0));
        for (auto& [device, sessions] : candidates) {
            auto gone = co_await expire_of(device, std::move(sessions), expiry);
            expired.insert(expired.end(), gone.begin(), gone.end());
        }
    }
    co_return expired;
}

// A transaction of its own for each device: none waits for a device's lock while it holds another's.
Task<std::vector<SessionId>> PostgresSessions::expire_of(DeviceKey device, std::vector<std::string> candidates, Milliseconds expiry) {
    auto transaction = co_await database_.begin();
    Query lock = transaction->run(lock_device, Params().bigint(device.value));
    Query removal = transaction->run(delete_expired, Params().bigint(device.value).texts(candidates).bigint(expiry.count()));
    co_await lock;
    Rows removed = co_await removal;
    auto gone = ids(removed);
    if (!gone.empty()) co_await delete_acknowledged(*transaction, device);
    co_await transaction->commit(false);
    co_return gone;
}

Task<std::vector<SessionId>> PostgresSessions::end_e2ee(DeviceKey device) {
    auto transaction = co_await database_.begin();
    Query lock = transaction->run(lock_device, Params().bigint(device.value));
    Query removal = transaction->run(delete_e2ee, Params().bigint(device.value));
    co_await lock;
    Rows removed = co_await removal;
    auto ended = ids(removed);
    if (!ended.empty()) co_await delete_acknowledged(*transaction, device);
    co_await transaction->commit(true);
    co_return ended;
}

Task<bool> PostgresSessions::in_use(DeviceKey device, Milliseconds idle) {
    Rows rows = co_await database_.run(device_in_use, Params().bigint(device.value).bigint(idle.count()));
    co_return !rows.empty();
}

}  // namespace matrix_sync
