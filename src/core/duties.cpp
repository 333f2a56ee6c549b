// What a worker does beside answering: it writes down what is used, drops what has expired, hears from other workers, and hands over when
// it stops.
#include <algorithm>

#include "core/rooms/views.hpp"
#include "core/service_impl.hpp"
#include "core/sessions/query.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr Milliseconds kTick{2'000};
constexpr Milliseconds kCloseLimit{3'000};
constexpr int kExpireAtOnce = 100;
/// Pruning takes at most this part of one connection's time.
constexpr int kPruneShare = 5;
constexpr Milliseconds kMostPruneRest{60'000};

}  // namespace

void Service::Impl::tell_dropped(const std::vector<SessionId>& dropped) {
    for (const auto& id : dropped) worker.workers.tell({}, "gone " + id.value);
}

/// The older request of a session may wait at another worker.
void Service::Impl::tell_newer(Session& session) {
    if (!std::exchange(session.elsewhere, false) || !worker.self) return;
    session.telling = true;
    worker.workers.tell({}, "newer " + session.id.value + " " + std::to_string(worker.self.value));
}

Task<void> Service::Impl::housekeeping() {
    for (;;) {
        Milliseconds least = settings ? std::min(settings->poll_idle, settings->session_expiry) : kTick;
        co_await loop_sleep(worker.loop, std::clamp(least / 10, Milliseconds{100}, kTick));
        if (!settings || !worker.self) continue;
        try {
            co_await write_used();
            co_await expire_sessions();
        } catch (const DatabaseUnavailable&) {
            // Next time.
        } catch (const std::exception& error) {
            housekeeping_failed.write(LogLevel::error, std::string("what is unused is not cleared away, trying again: ") + error.what());
        }
        access.forget();
        sessions.forget(settings->poll_idle);
        std::erase_if(devices, [](const auto& item) { return item.second.use_count() == 1 && item.second->poller.rests(); });
    }
}

Task<void> Service::Impl::write_used() {
    std::vector<UsedSession> used = sessions.take_used(settings->session_expiry / 10);
    std::vector<DeviceKey> used_devices;
    for (auto& [key, served] : devices) {
        bool in_use = !served->poller.rests() && served->used > served->used_written;
        if (!in_use || worker.loop.now() - served->used_written < settings->poll_idle / 10) continue;
        served->used_written = worker.loop.now();
        used_devices.push_back(key);
    }
    if (used.empty() && used_devices.empty()) co_return;
    const std::vector<SessionId> gone = co_await session_store.touch(std::move(used), std::move(used_devices));
    for (const SessionId& id : gone) drop(id);
}

Task<void> Service::Impl::expire_sessions() {
    Milliseconds every = std::clamp(settings->session_expiry / 10, Milliseconds{100}, Milliseconds{60'000});
    if (worker.loop.now() - expired < every) co_return;
    expired = worker.loop.now();
    std::vector<SessionId> gone = co_await session_store.expire(settings->session_expiry, kExpireAtOnce);
    for (const auto& id : gone) drop(id);
    tell_dropped(gone);
}

/// Whichever worker looks first does it for all.
Task<void> Service::Impl::prune() {
    for (;;) {
        const Milliseconds expiry = settings ? settings->session_expiry : kMostPruneRest;
        co_await loop_sleep(worker.loop, worker.jittered(std::clamp(expiry / 10, Milliseconds{100}, kMostPruneRest)));
        if (!settings || !worker.self) continue;
        try {
            for (bool more = true; more;) {
                const Instant began = worker.loop.now();
                more = co_await prune_store.prune(settings->session_expiry);
                co_await loop_sleep(worker.loop, (kPruneShare - 1) * (worker.loop.now() - began));
            }
        } catch (const DatabaseUnavailable&) {
            // Next time.
        } catch (const std::exception& error) {
            worker.log(LogLevel::error, std::string("pruning failed, and is tried again: ") + error.what());
        }
    }
}

/// Its wait, if it has one, is over.
void Service::Impl::drop(const SessionId& id) {
    end_wait(sessions.drop(id));
}

/// Those who wait look whether it is theirs that is over.
void Service::Impl::end_wait(DeviceKey device) {
    auto found = devices.find(device);
    if (found != devices.end()) found->second->device.changed().notify();
}

/// By what not every log of the room tells.
void Service::Impl::looks_changed(RoomKey room) {
    worker.cache.redacted({room});
    doubt_views(room);
    worker.workers.tell({}, "looks " + std::to_string(room.value) + " " + std::to_string(worker.self.value));
}

void Service::Impl::redacted(RoomKey room, bool state) {
    if (state) {
        looks_changed(room);
    } else {
        worker.cache.redacted({room});
        worker.workers.tell({}, "redacted " + std::to_string(room.value));
    }
}

void Service::Impl::doubt_views(RoomKey room) {
    for (auto& [key, served] : devices) served->device.views().doubt(room);
}

/// Many may be told of at once, and each is looked for in every device.
Task<void> Service::Impl::doubt_one_by_one() {
    while (!doubtful.empty()) {
        doubt_views(doubtful.extract(doubtful.begin()).value());
        co_await loop_pause(worker.loop);
    }
}

/// Notifications get lost, and owners die without a word.
Task<void> Service::Impl::look_after_followed() {
    for (;;) {
        co_await loop_sleep(worker.loop, kTick);
        std::vector<DeviceRow> followed;
        for (auto& [key, served] : devices) {
            if (auto row = served->poller.following()) followed.push_back(std::move(*row));
        }
        if (followed.empty() || !worker.self) continue;
        std::vector<DeviceRow> moved;
        std::vector<DeviceRow> known = followed;
        try {
            moved = co_await worker.workers.moved(std::move(known));
        } catch (const std::exception&) {
            continue;
        }
        for (const DeviceRow& now : moved) {
            auto found = devices.find(now.key);
            auto was = std::find_if(followed.begin(), followed.end(), [&](const DeviceRow& row) { return row.key == now.key; });
            if (found == devices.end() || was == followed.end()) continue;
            if (now.owner != was->owner || !worker.workers.alive(now.owner)) {
                found->second->poller.told_free();
            } else {
                found->second->poller.told_news(now.end);
            }
        }
    }
}

void Service::Impl::registered(WorkerKey self) {
    worker.self = self;
    worker.registered.notify();
    // What memory knows by a number, the database may have lost: another copy of it may have taken over.
    access.ask_again();
    sessions.ask_again();
    worker.cache.clear();
    worker.member_lists.clear();
    expired = worker.loop.now();
    for (auto& [key, served] : devices) served->poller.start_again();
    if (!keeping.running()) keeping.start(housekeeping());
    if (!following.running()) following.start(look_after_followed());
    if (!pruning.running()) pruning.start(prune());
}

void Service::Impl::disconnected() {
    worker.self = {};
}

void Service::Impl::told(std::string_view message) {
    Words words(message);
    std::string_view what = words.next();
    if (what == "gone") {
        drop(SessionId(std::string(words.next())));
        return;
    }
    if (what == "newer") {
        SessionId id{std::string(words.next())};
        end_wait(sessions.used(id, words.number() != worker.self.value));
        return;
    }
    if (what == "redacted") {
        worker.cache.redacted({RoomKey{words.number()}});
        return;
    }
    if (what == "looks") {
        RoomKey room{words.number()};
        if (words.number() == worker.self.value) return;
        worker.cache.redacted({room});
        doubtful.insert(room);
        if (!doubting.running()) doubting.start(doubt_one_by_one());
        return;
    }
    DeviceKey device{words.number()};
    auto found = devices.find(device);
    if (what == "follow") {
        WorkerKey follower{words.number()};
        if (found != devices.end()) {
            found->second->poller.told_follow(follower);
        } else {
            worker.workers.tell(follower, "free " + std::to_string(device.value));
        }
    } else if (found != devices.end() && what == "news") {
        found->second->poller.told_news(Position{words.number()});
    } else if (found != devices.end() && what == "free") {
        found->second->poller.told_free();
    } else if (found != devices.end() && what == "trouble") {
        found->second->poller.told_trouble();
    }
}

Task<void> Service::Impl::close() {
    worker.closing = true;
    worker.failing.close();
    worker.registered.notify();
    keeping.cancel();
    following.cancel();
    pruning.cancel();
    std::vector<Lease> leases;
    for (auto& [key, served] : devices) {
        if (auto lease = served->poller.stop()) leases.push_back(*lease);
        served->device.changed().notify();
    }
    try {
        if (!leases.empty()) co_await worker.logs.release(std::move(leases));
        // Requests that have just begun to be answered are answered, too.
        const Instant until = worker.loop.now() + kCloseLimit;
        while ((worker.status.waiting > 0 || access.asks()) && worker.loop.now() < until) {
            co_await loop_sleep(worker.loop, Milliseconds{5});
        }
        access.stop();  // not later: who comes from now on may still ask
        co_await worker.workers.leave();
    } catch (const std::exception& error) {
        worker.log(LogLevel::warn,
                   std::string("devices could not be handed over, other workers take them in some seconds: ") + error.what());
        access.stop();
    }
}

Status Service::Impl::status() const {
    Status now = worker.status;
    now.devices = devices.size();
    now.sessions = sessions.size();
    now.tokens_refused = access.refusals();
    now.polls_failing = worker.failing.count();
    Milliseconds stalest{};
    Milliseconds tail_lag{};
    for (const auto& [key, served] : devices) {
        const Poller& poller = served->poller;
        if (poller.polls()) {
            ++now.owned;
            stalest = std::max<Milliseconds>(stalest, worker.loop.now() - poller.last_good());
        } else if (poller.follows()) {
            ++now.followed;
            tail_lag = std::max(tail_lag, poller.tail_lag());
        }
    }
    now.stalest_ms = static_cast<std::uint64_t>(stalest.count());
    now.tail_lag_ms = static_cast<std::uint64_t>(tail_lag.count());
    worker.cache.report(now);
    now.member_lists = worker.member_lists.rooms();
    now.members_in_lists = worker.member_lists.kept();
    return now;
}

}  // namespace matrix_sync
