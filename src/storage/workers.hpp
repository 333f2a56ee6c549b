// The workers that share the database: each is a row that lives as long as it is renewed, and listens on a channel of its own.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/service.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// Also brings the schema up to date before it registers: until registered() nothing else may be asked of the database, which must not
/// connect any more once this is destroyed.
class PostgresWorkers : public WorkerStore, private Database::Listener {
  public:
    using Log = std::function<void(LogLevel, const std::string&)>;

    /// `name` is for operators, and no two workers that are alive have the same: host and process.
    PostgresWorkers(Database& database, Loop& loop, std::string name, Log log);

    void attach(Mail& mail) override;
    void tell(WorkerKey to, std::string message) override;
    Task<void> leave() override;
    bool alive(WorkerKey worker) const override;
    Task<std::vector<DeviceRow>> moved(std::vector<DeviceRow> known) override;

  private:
    struct Turn : Deferred {
        Turn(PostgresWorkers& owner, void (PostgresWorkers::*method)()) : of(owner), call(method) {}
        void fire() override { (of.*call)(); }

        PostgresWorkers& of;
        void (PostgresWorkers::*call)();
    };

    void connected() override;
    void disconnected() override;
    void notified(std::string_view channel, std::string_view payload) override;

    void follow_connection();
    void forget_self();
    void log_change(LogLevel level, const std::string& message);
    Task<void> stay_alive();
    Task<void> set_up();
    Task<bool> beat(WorkerKey self);
    void send();

    Database& database_;
    Loop& loop_;
    std::string name_;
    Log log_;
    Mail* mail_ = nullptr;

    bool connected_ = false;
    bool lost_ = false;  ///< a connection has ended since follow_connection()
    bool left_ = false;
    std::string logged_;  ///< the last thing said about the database
    Turn follow_{*this, &PostgresWorkers::follow_connection};
    Job job_;

    WorkerKey self_;      ///< none: not registered
    WorkerKey previous_;  ///< the row to take away with the next registration
    Instant renewed_{};   ///< when the last beat that was answered had been sent
    std::unordered_set<WorkerKey> alive_;

    std::deque<std::pair<WorkerKey, std::string>> outbox_;
    Turn send_{*this, &PostgresWorkers::send};
};

}  // namespace matrix_sync
