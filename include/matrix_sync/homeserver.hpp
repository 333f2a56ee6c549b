// What the core needs of a homeserver: GET requests whose answers are read as they arrive.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// Whom the homeserver shall believe the request to come from; it records these for the device.
struct Client {
    std::string address;     ///< for X-Forwarded-For
    std::string protocol;    ///< for X-Forwarded-Proto: http or https
    std::string host;        ///< for Host
    std::string user_agent;  ///< for User-Agent; may be empty
};

struct Call {
    std::string target;  ///< path and query, already encoded: `/_matrix/client/v3/sync?timeout=0`
    std::string access_token;
    Client client;
    bool goes_on = false;  ///< the next poll of a device that is being polled: it may take connections that are kept from others
};

/// An answer on its way. Destroying it aborts the request.
class Exchange {
  public:
    struct Head {
        int status = 0;
        /// False when nginx made the answer up itself: nothing was reached (502, 504), or its own configuration refused (401, 403).
        bool from_homeserver = false;
    };

    virtual ~Exchange() = default;
    /// Waits for the status. Throws HomeserverUnavailable when there is none to come.
    virtual Task<Head> head() = 0;
    /// Waits for the next bytes: valid until the next read(); empty at the end of a whole answer. While nobody reads, nothing is fetched
    /// that does not fit nginx's buffers. Throws HomeserverUnavailable when the answer is cut off.
    virtual Task<std::string_view> read() = 0;
};

class Homeserver {
  public:
    virtual ~Homeserver() = default;
    /// Nullptr when the worker has no connections to spare for it.
    virtual std::unique_ptr<Exchange> get(const Call& call) = 0;
};

}  // namespace matrix_sync
