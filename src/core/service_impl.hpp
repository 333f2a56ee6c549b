// A service's inside: what one worker holds for one database. service.cpp answers requests from it, duties.cpp does what is done beside
// answering.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/devices/access.hpp"
#include "core/devices/device.hpp"
#include "core/devices/poller.hpp"
#include "core/devices/worker.hpp"
#include "core/seldom.hpp"
#include "core/sessions/filter.hpp"
#include "core/sessions/sessions.hpp"
#include "core/sessions/token.hpp"
#include "core/streams/reading.hpp"
#include "matrix_sync/service.hpp"

namespace matrix_sync {

/// A device that this worker serves.
struct Served {
    Served(Worker& worker, const DeviceRow& row)
        : device(worker.loop, worker.logs, worker.rooms, worker.cache, worker.budget, row), poller(worker, device) {}
    Device device;
    Poller poller;
    Instant used{};
    Instant used_written{};
};

/// What is answered, once the request has been understood.
struct Turn {
    std::shared_ptr<Session> session;      ///< none yet for a new one
    std::shared_ptr<const Filter> before;  ///< of the token
    std::shared_ptr<const Filter> filter;  ///< with the body laid over it
    SyncToken token;                       ///< where the answer begins
    PagesAsked pages;
    std::array<Show, kStreams> shows{};
    bool at_once = false;  ///< a stream shows how things are now
    bool may_wait = true;  ///< as in Request
    Facts* facts = nullptr;
};

struct Service::Impl : WorkerStore::Mail {
    explicit Impl(Parts parts)
        : access(parts.loop, parts.logs, parts.tokens),
          worker(
              parts, access, [this](RoomKey room) { looks_changed(room); }, [this](RoomKey room, bool state) { redacted(room, state); }),
          sessions(parts.loop, parts.sessions),
          session_store(parts.sessions),
          prune_store(parts.pruning) {
        parts.workers.attach(*this);
    }

    Task<std::optional<Reply>> answer(const Request& request);
    Task<void> known_to_database();
    static Turn begin_turn(Json body);
    static void say_what_is_asked(const Turn& turn);
    Task<Turn> go_on(DeviceKey device, std::string_view since, Json body, Milliseconds expiry);
    Task<void> open(Served& served, Turn& turn, int most);
    Task<void> come_back(Served& served, Turn& turn, bool may_wait);
    static void begin_streams(Turn& turn, bool may_wait);
    Reading reading(Served& served, const Credential& credential, const Turn& turn);
    Task<Reply> later_pages(Served& served, const Credential& credential, Turn turn, std::string_view since);
    Task<void> first_poll(Served& served, const std::string& access_token, Milliseconds limit);
    Task<Reply> wait(Served& served, const Credential& credential, Turn turn, Milliseconds timeout);
    Task<void> still_known(Served& served);
    Task<std::string> compose(Served& served, const Credential& credential, Turn& turn);
    std::shared_ptr<Served> serve(const DeviceRow& row);
    void drop(const SessionId& id);
    void tell_dropped(const std::vector<SessionId>& dropped);
    void tell_newer(Session& session);
    void end_wait(DeviceKey device);
    void looks_changed(RoomKey room);
    void redacted(RoomKey room, bool state);
    void doubt_views(RoomKey room);
    Task<void> doubt_one_by_one();

    Task<void> housekeeping();
    Task<void> write_used();
    Task<void> expire_sessions();
    Task<void> look_after_followed();
    Task<void> prune();
    Task<void> close();
    Status status() const;

    void registered(WorkerKey self) override;
    void disconnected() override;
    void told(std::string_view message) override;

    Access access;
    Worker worker;
    Sessions sessions;
    SessionStore& session_store;
    PruneStore& prune_store;
    std::map<DeviceKey, std::shared_ptr<Served>> devices;
    const Settings* settings = nullptr;  ///< of the last request
    std::uint64_t requests = 0;
    Instant expired{};
    SeldomLine statement_failed{worker.loop, worker.log};
    SeldomLine request_failed{worker.loop, worker.log};
    SeldomLine housekeeping_failed{worker.loop, worker.log};
    std::set<RoomKey> doubtful;  ///< whose views are still to be taken back
    Job keeping;
    Job doubting;
    Job following;
    Job pruning;
};

}  // namespace matrix_sync
