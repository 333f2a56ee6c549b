// A poller's life, and what it does while another worker polls. The polling itself is in poll.cpp.
#include <algorithm>

#include "core/devices/poller.hpp"

namespace matrix_sync {

namespace {

constexpr Milliseconds kRetry{1'000};
constexpr int kMostDoublings = 5;
constexpr std::size_t kMostCredentials = 8;

}  // namespace

Poller::Poller(Worker& worker, Device& device)
    : worker_(worker), device_(device), wake_(worker.loop), synced_signal_(worker.loop), last_request_(worker.loop.now()) {}

void Poller::want(Credential credential) {
    last_request_ = worker_.loop.now();
    std::erase_if(credentials_, [&](const Credential& known) { return known.access_token == credential.access_token; });
    credentials_.push_front(std::move(credential));
    if (credentials_.size() > kMostCredentials) credentials_.pop_back();
    if (job_.running() || worker_.closing) return;
    job_.start(run());
}

Task<bool> Poller::synced(Milliseconds limit) {
    Instant until = worker_.loop.now() + limit;
    while (!synced_ && worker_.loop.now() < until && job_.running()) co_await synced_signal_.wait(until - worker_.loop.now());
    co_return synced_;
}

Task<void> Poller::reach(Position position) {
    // A later generation than this worker's own: it has lost the log and does not know yet.
    bool own = polls() && position.generation() <= device_.end().generation();
    if (position <= device_.end() || own) co_return;
    co_await catch_up();
}

Task<void> Poller::reach_end() {
    if (!polls()) co_await catch_up();
}

void Poller::start_again() {
    set_synced(false);
    lease_.reset();
    claiming_ = false;
    followers_.clear();
    if (!job_.running()) return;
    job_.cancel();
    job_.start(run());
}

std::optional<Lease> Poller::stop() {
    job_.cancel();
    claiming_ = false;
    tell_followers("free");
    followers_.clear();
    failing_.reset();
    set_synced(false);
    return std::exchange(lease_, std::nullopt);
}

void Poller::told_news(Position end) {
    if (end > device_.end() && told_end_ <= device_.end()) told_at_ = worker_.loop.now();
    told_end_ = std::max(told_end_, end);
    if (!lease_) trouble_.reset();
    wake_.notify();
}

void Poller::told_free() {
    owner_gone_ = true;
    disclaimed_ = owner_;
    wake_.notify();
}

void Poller::told_trouble() {
    if (lease_) return;
    trouble_.emplace(502, "M_UNKNOWN", "The homeserver cannot be reached");
    device_.changed().notify();
}

void Poller::told_follow(WorkerKey follower) {
    if (!lease_ && !claiming_) {
        worker_.workers.tell(follower, "free " + std::to_string(device_.key.value));
        return;
    }
    followers_.insert(follower);
    if (claiming_) return;
    if (!device_.whole() && trouble_) worker_.workers.tell(follower, "trouble " + std::to_string(device_.key.value));
    // What came between the follower's last look and this is made up for.
    worker_.workers.tell(follower, "news " + std::to_string(device_.key.value) + " " + std::to_string(device_.end().value));
}

Milliseconds Poller::tail_lag() const {
    return told_end_ > device_.end() ? worker_.loop.now() - told_at_ : Milliseconds{0};
}

/// For the log and the status page.
void Poller::failed(PollFailure kind, const std::string& text) {
    worker_.status.failed(kind);
    if (!failing_) failing_.emplace(worker_.failing);
    worker_.failing.failed(name() + ": " + text);
}

std::optional<DeviceRow> Poller::following() const {
    if (!follows()) return std::nullopt;
    return DeviceRow{device_.key, device_.user, device_.id, owner_, device_.end(), device_.whole()};
}

Task<void> Poller::run() {
    for (;;) {
        bool goes_on = co_await wanted();
        if (!goes_on) goes_on = !co_await released();
        if (!goes_on) break;
        if (!worker_.self) {
            set_synced(false);
            co_await worker_.registered.wait();
            continue;
        }
        std::string why;
        try {
            co_await hold_role();
            failed_roles_ = 0;
        } catch (const StatementFailed& error) {
            why = error.sqlstate + " " + error.what();
        } catch (const std::exception& error) {
            why = error.what();
        }
        if (lease_) unreleased_ = std::exchange(lease_, std::nullopt);
        if (claiming_) decided("free");
        owner_ = {};
        if (why.empty()) continue;
        set_synced(false);
        Milliseconds rest = worker_.jittered(kRetry * (1 << failed_roles_));
        failed_roles_ = std::min(failed_roles_ + 1, kMostDoublings);
        // While the database is away, one line of its own says so for all devices.
        if (worker_.self)
            failed(PollFailure::database, "the database is in the way: " + why + "; again in " + std::to_string(rest.count()) + " ms");
        co_await loop_sleep(worker_.loop, rest);
    }
    failing_.reset();
    set_synced(false);
}

/// Nobody else can have the log while the store takes this worker for its owner.
Task<bool> Poller::released() {
    if (!unreleased_ || worker_.closing || !worker_.self) co_return true;
    Lease lease = *unreleased_;
    try {
        std::vector<Lease> leases = {lease};
        co_await worker_.logs.release(std::move(leases));
        unreleased_.reset();
    } catch (const std::exception&) {
        // Below: in a moment again.
    }
    if (unreleased_) co_await loop_sleep(worker_.loop, worker_.jittered(kRetry));
    if (unreleased_) co_return false;
    co_return !co_await wanted();
}

Task<void> Poller::hold_role() {
    claiming_ = true;
    LogStore::Claim claim = co_await worker_.logs.claim(device_.key, worker_.self, std::exchange(disclaimed_, WorkerKey{}));
    pruned_ = claim.row.user != device_.user || claim.row.device != device_.id;
    if (pruned_) {
        credentials_.clear();
        unreleased_ = claim.lease;
        device_.changed().notify();
        co_return;
    }
    if (!claim.lease) {
        decided("free");
        co_await follow(claim.row);
        co_return;
    }
    lease_ = claim.lease;
    unreleased_.reset();
    std::vector<Entry> nobody_types;
    device_.restart(claim.row, nobody_types);
    last_good_ = worker_.loop.now();
    decided("news");
    set_synced(true);
    co_await poll(*claim.lease, std::move(claim.since));
}

/// Others may hear of a claim before this worker does, and have asked to follow it.
void Poller::decided(const std::string& message) {
    claiming_ = false;
    tell_followers(message);
    if (!lease_) followers_.clear();
}

Task<void> Poller::follow(const DeviceRow& row) {
    owner_ = row.owner;
    owner_gone_ = false;
    told_end_ = {};
    trouble_.reset();
    worker_.workers.tell(owner_, "follow " + std::to_string(device_.key.value) + " " + std::to_string(worker_.self.value));
    std::vector<Entry> typing = co_await worker_.logs.typing(device_.key, Typing::kExpiry);
    device_.restart(row, typing);
    failing_.reset();
    set_synced(true);
    while (!owner_gone_ && idle_left() > Milliseconds{0} && !worker_.closing) {
        if (told_end_ > device_.end() || !device_.whole()) co_await catch_up();
        if (!owner_gone_ && told_end_ <= device_.end()) co_await wake_.wait(idle_left());
    }
}

Task<void> Poller::catch_up() {
    const bool behind = told_end_ > device_.end();
    for (;;) {
        Position before = device_.end();
        Position told = told_end_;
        News news = co_await worker_.logs.news(device_.key, before);
        bool more = news.to > before;
        device_.apply(std::move(news));
        if (more || told != told_end_) continue;
        // What was told of but cannot be found was lost in a crash of the database.
        told_end_ = std::min(told_end_, device_.end());
        break;
    }
    if (behind) worker_.status.tail_time.add(worker_.loop.now() - told_at_);
}

Milliseconds Poller::idle_left() const {
    if (credentials_.empty()) return Milliseconds{0};
    Milliseconds idle = credentials_.front().settings->poll_idle;
    return requests_ > 0 ? idle : idle - (worker_.loop.now() - last_request_);
}

Task<bool> Poller::wanted() {
    if (worker_.closing || credentials_.empty()) co_return false;
    if (idle_left() > Milliseconds{0}) co_return true;
    if (!lease_) co_return false;
    try {
        co_return co_await worker_.sessions.in_use(device_.key, credentials_.front().settings->poll_idle);
    } catch (const DatabaseUnavailable&) {
        co_return true;
    }
}

void Poller::tell_followers(const std::string& message) {
    for (WorkerKey follower : followers_) {
        std::string text = message + " " + std::to_string(device_.key.value);
        if (message == "news") text += " " + std::to_string(device_.end().value);
        worker_.workers.tell(follower, std::move(text));
    }
}

void Poller::set_synced(bool synced) {
    synced_ = synced;
    synced_signal_.notify();
}

}  // namespace matrix_sync
