// What a stream reads from, for one answer.
#pragma once

#include "core/devices/device.hpp"
#include "core/devices/poller.hpp"
#include "core/rooms/cache.hpp"
#include "core/rooms/member_lists.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/rooms.hpp"

namespace matrix_sync {

struct Reading {
    Loop& loop;
    RoomStore& store;
    RoomCache& cache;
    MemberLists& member_lists;
    Device& device;
    const Credential& credential;  ///< of the request: what is asked of the homeserver for this answer is asked with it
    SessionId session;
};

}  // namespace matrix_sync
