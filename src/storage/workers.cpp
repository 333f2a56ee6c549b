// Whether a worker is alive is a question of PostgreSQL's clock alone: a row whose time is over is dead, whatever its process believes.
#include "storage/workers.hpp"

#include <algorithm>
#include <stdexcept>

#include "matrix_sync/error.hpp"
#include "storage/schema.hpp"

namespace matrix_sync {

namespace {

constexpr Milliseconds lease{6'000};
constexpr Milliseconds beat_every{2'000};
constexpr Milliseconds first_retry{5'000};
constexpr Milliseconds last_retry{60'000};
constexpr std::size_t message_limit = 200;
constexpr std::size_t payload_limit = 7'900;  // PostgreSQL takes less than 8,000 bytes
const std::string common_channel = "matrix_sync";

const Statement next_key{"worker_next_key", R"sql(
    SELECT nextval(pg_get_serial_sequence('worker', 'id'))
)sql"};

const Statement set_channel{"worker_set_channel", R"sql(
    SELECT set_config('matrix_sync.channel', $1::text, false)
)sql"};

const Statement listen_to_channel{"worker_listen", R"sql(
    DO $listen$ BEGIN
        UNLISTEN *;
        LISTEN matrix_sync;
        EXECUTE format('LISTEN %I', current_setting('matrix_sync.channel'));
    END $listen$
)sql"};

// After a failover to a copy that had fallen behind, the previous key may be somebody else's.
const Statement insert_worker{"worker_insert", R"sql(
    WITH previous AS (DELETE FROM worker WHERE id = $2::bigint AND name = $3::text)
    INSERT INTO worker (id, name, alive_until) OVERRIDING SYSTEM VALUE
    VALUES ($1::bigint, $3::text, clock_timestamp() + $4::bigint * interval '1 millisecond')
)sql"};

const Statement renew_worker{"worker_renew", R"sql(
    WITH renewed AS (
        UPDATE worker SET alive_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
        WHERE id = $1::bigint AND name = $2::text AND alive_until > clock_timestamp()
        RETURNING id
    ), buried AS (
        DELETE FROM worker WHERE alive_until < clock_timestamp() - interval '1 hour' AND id <> $1::bigint
    )
    SELECT EXISTS (SELECT FROM renewed), ARRAY(SELECT id FROM worker WHERE alive_until > clock_timestamp())
)sql"};

const Statement delete_worker{"worker_delete", R"sql(
    DELETE FROM worker WHERE id = $1::bigint AND name = $2::text
)sql"};

const Statement notify{"worker_notify", R"sql(
    SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS message (channel, payload)
)sql"};

const Statement find_moved{"worker_find_moved", R"sql(
    SELECT device.id, user_id, device_id, coalesce(device.owner, 0), device.seq, since IS NOT NULL
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS known (id, seq, owner)
    JOIN device ON device.id = known.id
    WHERE device.seq > known.seq
       OR coalesce(device.owner, 0) <> known.owner
       OR device.owner <> 0 AND NOT EXISTS (
              SELECT FROM worker WHERE worker.id = device.owner AND worker.alive_until > clock_timestamp())
)sql"};

std::string channel_of(WorkerKey worker) {
    return worker ? common_channel + "_w" + std::to_string(worker.value) : common_channel;
}

}  // namespace

PostgresWorkers::PostgresWorkers(Database& database, Loop& loop, std::string name, Log log)
    : database_(database), loop_(loop), name_(std::move(name)), log_(std::move(log)) {}

void PostgresWorkers::attach(Mail& mail) {
    mail_ = &mail;
    database_.listen(this);
}

// The driver may call these two from within a statement of ours: what follows from them waits for the loop.
void PostgresWorkers::connected() {
    connected_ = true;
    forget_self();
    loop_.post(follow_);
}

void PostgresWorkers::disconnected() {
    connected_ = false;
    lost_ = true;
    forget_self();
    loop_.post(follow_);
}

void PostgresWorkers::forget_self() {
    if (self_) previous_ = self_;
    self_ = {};
    alive_.clear();
    outbox_.clear();
}

void PostgresWorkers::follow_connection() {
    job_.cancel();
    if (std::exchange(lost_, false)) mail_->disconnected();
    if (connected_ && !left_) job_.start(stay_alive());
}

void PostgresWorkers::log_change(LogLevel level, const std::string& message) {
    if (message == logged_) return;
    logged_ = message;
    log_(level, message);
}

Task<void> PostgresWorkers::stay_alive() {
    Milliseconds retry = first_retry;
    while (true) {
        try {
            if (!self_) {
                co_await set_up();
            } else if (!co_await beat(self_)) {
                forget_self();
                continue;
            }
            if (!std::exchange(logged_, {}).empty()) log_(LogLevel::notice, "registered with the database again");
        } catch (const SchemaRefused& refused) {
            log_change(LogLevel::error,
                       std::string("the database cannot be used, requests are answered with 503 until it can: ") + refused.what());
        } catch (const std::exception& failure) {
            log_change(LogLevel::warn, std::string("this worker cannot be registered with the database, trying again: ") + failure.what());
        }
        if (self_) {
            retry = first_retry;
            co_await loop_sleep(loop_, beat_every);
        } else {
            co_await loop_sleep(loop_, std::exchange(retry, std::min(2 * retry, last_retry)));
        }
    }
}

/// Registers under a new key. The worker hears what it is told from before anybody can know of it.
Task<void> PostgresWorkers::set_up() {
    co_await migrate(database_);
    Rows rows = co_await database_.run(next_key, Params{});
    WorkerKey key{rows.bigint(0, 0)};
    co_await database_.run(set_channel, Params().text(channel_of(key)));
    co_await database_.run(listen_to_channel, Params{});

    co_await database_.run(insert_worker, Params().bigint(key.value).bigint(previous_.value).text(name_).bigint(lease.count()));
    previous_ = key;
    if (!co_await beat(key)) throw std::runtime_error("the worker's row was gone as soon as it was made");
    if (follow_.pending()) co_return;  // that connection is gone
    self_ = key;
    mail_->registered(key);
}

Task<bool> PostgresWorkers::beat(WorkerKey self) {
    Instant sent = loop_.now();
    Rows rows = co_await database_.run(renew_worker, Params().bigint(self.value).text(name_).bigint(lease.count()));
    if (!rows.boolean(0, 0)) co_return false;
    renewed_ = sent;
    alive_.clear();
    for (auto id : rows.bigints(0, 1)) alive_.insert(WorkerKey{id});
    co_return true;
}

bool PostgresWorkers::alive(WorkerKey worker) const {
    if (!self_ || loop_.now() - renewed_ >= lease) return false;
    return alive_.contains(worker);
}

Task<void> PostgresWorkers::leave() {
    left_ = true;
    if (!outbox_.empty()) send();
    job_.cancel();
    forget_self();
    if (previous_ && connected_) co_await database_.run(delete_worker, Params().bigint(previous_.value).text(name_));
}

void PostgresWorkers::tell(WorkerKey to, std::string message) {
    if (message.size() > message_limit || message.find(',') != std::string::npos) throw std::invalid_argument("not a message to a worker");
    if (!self_) return;
    outbox_.emplace_back(to, std::move(message));
    if (!send_.pending()) loop_.post(send_);
}

void PostgresWorkers::send() {
    send_.cancel();
    std::vector<std::string> channels;
    std::vector<std::string> payloads;
    std::map<WorkerKey, std::size_t> open;  // the last payload for each
    for (auto& [to, message] : std::exchange(outbox_, {})) {
        auto found = open.find(to);
        if (found == open.end() || payloads[found->second].size() + 1 + message.size() > payload_limit) {
            open[to] = payloads.size();
            channels.push_back(channel_of(to));
            payloads.push_back(std::move(message));
        } else {
            payloads[found->second] += ',' + message;
        }
    }
    if (!payloads.empty()) database_.run(notify, Params().texts(channels).texts(payloads));
}

void PostgresWorkers::notified(std::string_view channel, std::string_view payload) {
    if (channel != common_channel && channel != channel_of(self_)) return;
    while (self_ && !payload.empty()) {
        auto end = std::min(payload.find(','), payload.size());
        mail_->told(payload.substr(0, end));
        payload.remove_prefix(std::min(end + 1, payload.size()));
    }
}

Task<std::vector<DeviceRow>> PostgresWorkers::moved(std::vector<DeviceRow> known) {
    std::vector<std::int64_t> keys;
    std::vector<std::int64_t> ends;
    std::vector<std::int64_t> owners;
    for (const auto& row : known) {
        keys.push_back(row.key.value);
        ends.push_back(row.end.value);
        owners.push_back(row.owner.value);
    }
    Rows rows = co_await database_.run(find_moved, Params().bigints(keys).bigints(ends).bigints(owners));

    std::vector<DeviceRow> result(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        result[row].key = DeviceKey{rows.bigint(row, 0)};
        result[row].user = UserId(std::string(rows.text(row, 1)));
        result[row].device = DeviceId(std::string(rows.text(row, 2)));
        result[row].owner = WorkerKey{rows.bigint(row, 3)};
        result[row].end = Position{rows.bigint(row, 4)};
        result[row].whole = rows.boolean(row, 5);
    }
    co_return result;
}

}  // namespace matrix_sync
