// Sync v3 as nginx sees it: requests in, replies out. One service a worker and database.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/rooms.hpp"
#include "matrix_sync/status.hpp"
#include "matrix_sync/store.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// What a location's directives say; lives as long as the configuration.
struct Settings {
    Milliseconds max_timeout{};         ///< matrix_sync_max_timeout
    Milliseconds first_poll_timeout{};  ///< matrix_sync_first_poll_timeout
    Milliseconds poll_timeout{};        ///< matrix_sync_poll_timeout
    Milliseconds poll_idle{};           ///< matrix_sync_poll_idle
    Milliseconds session_expiry{};      ///< matrix_sync_session_expiry
    int sessions_per_device = 0;        ///< matrix_sync_sessions_per_device
};

/// What the access log may say of a request, as far as it has come.
struct Facts {
    std::string user;
    std::string device;
    std::string session;
    std::string streams;                 ///< that the session asks for: `room_list,typing`
    std::optional<Milliseconds> waited;  ///< for news; none where it never came to that
    std::string news;                    ///< the streams that the answer has something of
};

/// One POST: `authorization` is the header's value, empty when there is none; `query` the part behind `?`, as it came.
struct Request {
    std::string authorization;
    std::string query;
    std::string body;
    Client client;
    std::shared_ptr<Homeserver> homeserver;  ///< of the location
    const Settings* settings = nullptr;
    bool may_wait = true;    ///< for news; else it is answered with 429 when there are none
    Facts* facts = nullptr;  ///< filled in as they become known; outlives the task, and may be null
};

struct Reply {
    int status = 200;
    std::string body;                  ///< JSON
    std::optional<int> retry_after_s;  ///< Retry-After
};

/// `{"errcode": …, "error": …}` as every error of ours is answered, also those that never reach the service.
Reply error_reply(int status, std::string_view errcode, std::string_view error, std::optional<Milliseconds> retry_after = std::nullopt);

enum class LogLevel { error, warn, notice, info };

class Service {
  public:
    struct Parts {
        Loop& loop;
        LogStore& logs;
        SessionStore& sessions;
        TokenStore& tokens;
        WorkerStore& workers;
        RoomStore& rooms;
        PruneStore& pruning;
        std::size_t cache_bytes;  ///< matrix_sync_cache
        int first_polls;          ///< in flight at once, at most: each costs the homeserver as much as hundreds of others
        /// One line for the operator: no token, no event content.
        std::function<void(LogLevel, const std::string&)> log;
    };
    explicit Service(Parts parts);
    ~Service();

    /// Never throws: every failure is a reply. Destroying the task is the client hanging up.
    Task<Reply> serve(Request request);
    /// Graceful stop: ends every wait as if its time were up, stops polling and lets go of the devices. New requests are answered without
    /// waiting.
    Task<void> close();
    Status status() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace matrix_sync
