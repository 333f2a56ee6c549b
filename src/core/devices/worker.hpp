// What the devices of one worker share.
#pragma once

#include <functional>
#include <random>
#include <string>

#include "core/devices/access.hpp"
#include "core/devices/failing.hpp"
#include "core/rooms/cache.hpp"
#include "core/rooms/member_lists.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/service.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

struct Worker {
    /// `all_redacted` is told what LogStore::Ingested::redacted says.
    Worker(Service::Parts parts, Access& with, MemberLists::Fetched fetched, std::function<void(RoomKey, bool)> all_redacted)
        : loop(parts.loop),
          logs(parts.logs),
          sessions(parts.sessions),
          workers(parts.workers),
          rooms(parts.rooms),
          access(with),
          log(std::move(parts.log)),
          budget(parts.cache_bytes),
          member_lists(loop, rooms, budget, std::move(fetched)),
          redacted(std::move(all_redacted)),
          most_first_polls(parts.first_polls) {}

    Loop& loop;
    LogStore& logs;
    SessionStore& sessions;
    WorkerStore& workers;
    RoomStore& rooms;
    Access& access;
    std::function<void(LogLevel, const std::string&)> log;

    CacheBudget budget;  ///< of the next two, and of what the devices keep
    RoomCache cache{loop, rooms, budget};
    MemberLists member_lists;
    const std::function<void(RoomKey, bool)> redacted;

    WorkerKey self;  ///< none while the database does not know this worker
    bool closing = false;
    Signal registered{loop};  ///< self or closing has changed
    Status status;
    FailingDevices failing{loop, log};
    const int most_first_polls;
    int first_polls = 0;  ///< in flight
    Signal first_poll_ended{loop};
    std::minstd_rand random{std::random_device{}()};

    /// The delay, give or take a quarter: whoever failed together does not come back together.
    Milliseconds jittered(Milliseconds delay) {
        std::uniform_int_distribution<std::int64_t> spread(delay.count() * 3 / 4, delay.count() * 5 / 4);
        return Milliseconds(spread(random));
    }
};

}  // namespace matrix_sync
