// Keeps one device's log up to date in this worker: polls the homeserver if the log is this worker's to write, else follows the worker
// whose it is.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "core/classic/answer.hpp"
#include "core/devices/device.hpp"
#include "core/devices/failing.hpp"
#include "core/devices/worker.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"

namespace matrix_sync {

class ClassicParser;

/// With what a device can be polled: a token that the homeserver has confirmed, as the last request brought it.
struct Credential {
    std::string access_token;
    Client client;
    std::shared_ptr<Homeserver> homeserver;
    const Settings* settings = nullptr;
};

class Poller {
  public:
    Poller(Worker& worker, Device& device);

    /// A request of the device has come with this. Starts the poller if it rests.
    void want(Credential credential);
    /// A request of the device waits, or has ended.
    void hold() {
        ++requests_;
        device_.hold();
    }
    void let_go() {
        --requests_;
        device_.let_go();
        last_request_ = worker_.loop.now();
    }

    /// Waits until the device's memory is as new as the log; false when the time is up first.
    Task<bool> synced(Milliseconds limit);
    /// Waits until memory has reached a position that another worker's client was told, if it still exists.
    Task<void> reach(Position position);
    /// Waits until memory has what any client of the device can have been told: for a session that has no token to say so.
    Task<void> reach_end();
    /// Why the last poll brought nothing; none while one is under way that may.
    const std::optional<MatrixError>& trouble() const { return trouble_; }

    bool polls() const { return lease_.has_value(); }
    /// The store does not have the device any more. If the database was replaced by an older copy of it, the number may be another one's.
    bool pruned() const { return pruned_; }
    bool rests() const { return !job_.running() && requests_ == 0; }
    bool follows() const { return job_.running() && !lease_ && owner_; }
    Instant last_good() const { return last_good_; }
    /// For how long a follower has not read what it was told of.
    Milliseconds tail_lag() const;

    /// The database knows this worker anew: whatever was held before is not.
    void start_again();
    /// Stops at once; the lease that is then to be released.
    std::optional<Lease> stop();

    /// What other workers say about the device.
    void told_news(Position end);
    void told_free();
    void told_trouble();
    void told_follow(WorkerKey follower);
    /// Where the log stands for a follower; none when this worker polls or rests.
    std::optional<DeviceRow> following() const;

  private:
    /// When the homeserver was asked.
    struct Asked {
        Instant here{};
        std::int64_t store = 0;  ///< RoomStore::now(); of first polls only
    };

    Task<void> run();
    Task<void> hold_role();
    void decided(const std::string& message);
    Task<void> follow(const DeviceRow& row);
    Task<void> catch_up();
    Task<bool> released();
    std::string name() const { return "device " + device_.user.value + " " + device_.id.value; }
    Task<bool> wanted();
    Milliseconds idle_left() const;

    Task<void> poll(Lease lease, std::optional<std::string> since);
    Task<void> poll_once(const Credential& credential, Lease lease, std::optional<std::string>& since);
    Task<void> receive(const Credential& credential, Exchange& exchange, Lease lease, std::optional<std::string>& since, Asked asked);
    Task<void> ingest(const Credential& credential, LogStore::Piece piece);
    Task<void> store_members(std::vector<RoomMembers> members, std::int64_t asked);
    void took(LogStore::Ingested& ingested);
    Task<void> fetch_state(const Credential& credential, Lease lease, RoomId room, Milliseconds limit);
    Task<void> refused(const Credential& credential, Exchange& exchange);
    Task<void> begin_anew(std::optional<std::string>& since, std::string errcode);
    Task<void> rest_after_failure(PollFailure kind, std::string why, std::optional<Milliseconds> at_least);
    void failed(PollFailure kind, const std::string& text);
    void tell_followers(const std::string& message);
    void set_synced(bool synced);

    Worker& worker_;
    Device& device_;
    Job job_;
    Signal wake_;  ///< something for the role to look at
    Signal synced_signal_;
    bool synced_ = false;
    bool pruned_ = false;
    int requests_ = 0;
    Instant last_request_{};
    std::list<Credential> credentials_;  ///< newest first
    std::optional<Lease> lease_;         ///< this worker polls
    std::optional<Lease> unreleased_;    ///< it does not poll any more, but the store may not know
    bool claiming_ = false;              ///< whether the log is this worker's is being decided
    std::set<WorkerKey> followers_;
    WorkerKey owner_;  ///< whom this worker follows
    bool owner_gone_ = false;
    WorkerKey disclaimed_;  ///< said that it does not have the log
    Position told_end_;
    Instant told_at_{};  ///< when told_end_ went beyond what was read
    std::optional<MatrixError> trouble_;
    std::optional<FailingDevices::One> failing_;
    int failures_ = 0;       ///< polls, in a row
    int refused_since_ = 0;  ///< polls answered 400 since the last good one
    int failed_roles_ = 0;   ///< likewise: polling or following ended by the database
    bool goes_on_ = false;   ///< a poll of this owner has had a good answer
    int empty_in_a_row_ = 0;
    struct NoState {
        int failures = 0;
        Instant not_before{};
    };
    std::map<RoomId, NoState> no_state_;  ///< rooms whose state could not be had
    Instant last_good_{};
};

}  // namespace matrix_sync
