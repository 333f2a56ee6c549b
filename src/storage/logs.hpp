// The devices' logs in PostgreSQL.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/seldom.hpp"
#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

class PostgresLogs : public LogStore {
  public:
    /// `log` is given lines for the operator. Pieces under way are given up with the object.
    PostgresLogs(Database& database, Loop& loop, std::function<void(std::string)> log);
    ~PostgresLogs() override;

    Task<DeviceRow> device(const UserId& user, const DeviceId& device) override;
    /// Devices that are claimed while no connection is free share the next transaction: all are, when the database has been away.
    Task<Claim> claim(DeviceKey device, WorkerKey worker, WorkerKey disclaimed = {}) override;
    Task<void> release(std::vector<Lease> leases) override;

    /// Pieces of several devices that come while a transaction is under way share the next one.
    Task<Ingested> ingest(Piece piece) override;
    Task<Ingested> ingest_aside(Lease lease, std::optional<Position> end, RoomId room, std::vector<Event> state) override;

    /// At most some 1000 of each kind.
    Task<News> news(DeviceKey device, Position after) override;
    Task<std::vector<ToDeviceMessage>> to_device(DeviceKey device, Position after, int limit) override;
    Task<std::vector<DeviceListChange>> device_lists(DeviceKey device, Position after) override;
    Task<std::vector<AccountDataEvent>> account_data(DeviceKey device, Position after) override;
    Task<KeyCounts> key_counts(DeviceKey device) override;
    Task<std::vector<Entry>> typing(DeviceKey device, Milliseconds max_age) override;

  private:
    struct Claims;
    struct Claimant {
        WorkerKey worker;
        WorkerKey disclaimed;
    };
    using Claimants = std::map<DeviceKey, Claimant>;
    using Claimed = std::map<DeviceKey, Claim>;

    Task<DeviceRow> add_device(UserId user, DeviceId device);
    Task<std::shared_ptr<const Claimed>> claim_together(Claims* claims);
    Task<Claimed> claim_all(std::unique_ptr<Transaction> transaction, Claimants claimants);

    Database& database_;
    Loop& loop_;
    std::function<void(std::string)> log_;
    SeldomLine user_refused_;
    std::unique_ptr<class IngestQueue> queue_;
    std::weak_ptr<Claims> gathering_;  ///< those that wait for a connection; they belong to who waits for them
};

}  // namespace matrix_sync
