// A request from its access token to its reply, and everything a worker does beside answering: src/core/devices keeps the logs up to date.
#include "matrix_sync/service.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/devices/access.hpp"
#include "core/devices/device.hpp"
#include "core/devices/poller.hpp"
#include "core/devices/worker.hpp"
#include "core/json/writer.hpp"
#include "core/sessions/filter.hpp"
#include "core/sessions/query.hpp"
#include "core/sessions/sessions.hpp"
#include "core/sessions/token.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

/// How long a request waits for the database or for another worker's log before it is told to come again.
constexpr Milliseconds kSyncedLimit{4'000};
constexpr Milliseconds kRetryAfter{2'000};
constexpr Milliseconds kTick{2'000};
constexpr Milliseconds kCloseLimit{3'000};
constexpr int kExpireAtOnce = 100;

std::string bearer(std::string_view authorization) {
    constexpr std::string_view scheme = "bearer ";
    auto lower = [](char a, char b) { return b == (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a); };
    bool ours = authorization.size() > scheme.size() &&
                std::equal(scheme.begin(), scheme.end(), authorization.begin(), [&](char b, char a) { return lower(a, b); });
    if (!ours) throw MatrixError(401, "M_MISSING_TOKEN", "Missing access token");
    authorization.remove_prefix(scheme.size());
    return std::string(authorization);
}

Reply reply_of(const MatrixError& error) {
    Reply reply;
    reply.status = error.status;
    JsonWriter json;
    json.object().key("errcode").string(error.errcode).key("error").string(error.what());
    if (error.soft_logout) json.key("soft_logout").boolean(*error.soft_logout);
    if (error.retry_after) {
        json.key("retry_after_ms").number(error.retry_after->count());
        reply.retry_after_s = static_cast<int>((error.retry_after->count() + 999) / 1000);
    }
    json.end_object();
    reply.body = json.take();
    return reply;
}

MatrixError unavailable() {
    MatrixError error(503, "M_UNKNOWN", "The database cannot be reached");
    error.retry_after = kRetryAfter;
    return error;
}

/// A device that this worker serves.
struct Served {
    Served(Worker& worker, const DeviceRow& row) : device(worker.loop, worker.logs, row), poller(worker, device) {}
    Device device;
    Poller poller;
    Instant used{};
    Instant used_written{};
};

/// A request's hold on the device it is answered from.
struct Hold {
    explicit Hold(std::shared_ptr<Served> of) : served(std::move(of)) { served->poller.hold(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { served->poller.let_go(); }
    std::shared_ptr<Served> served;
};

struct Waiting {
    explicit Waiting(std::uint64_t& waiting) : count(waiting) { ++count; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() { --count; }
    std::uint64_t& count;
};

/// What is answered, once the request has been understood.
struct Turn {
    std::shared_ptr<Session> session;      ///< none yet for a new one
    std::shared_ptr<const Filter> before;  ///< of the token
    std::shared_ptr<const Filter> filter;  ///< with the body laid over it
    SyncToken token;                       ///< where the answer begins
    bool at_once = false;                  ///< a stream shows how things are now
};

}  // namespace

Reply error_reply(int status, std::string_view errcode, std::string_view error, std::optional<Milliseconds> retry_after) {
    MatrixError what(status, std::string(errcode), std::string(error));
    what.retry_after = retry_after;
    return reply_of(what);
}

struct Service::Impl : WorkerStore::Mail {
    explicit Impl(Parts parts)
        : access(parts.loop, parts.logs, parts.tokens),
          worker(parts, access),
          sessions(parts.loop, parts.sessions),
          session_store(parts.sessions) {
        parts.workers.attach(*this);
    }

    Task<Reply> answer(Request request);
    Task<void> known_to_database();
    static Turn begin_turn(const Json& body);
    Task<Turn> go_on(DeviceKey device, std::string_view since, const Json& body, Milliseconds expiry);
    Task<void> open(Served& served, Turn& turn, int most);
    Task<void> come_back(Served& served, Turn& turn);
    static void begin_streams(Turn& turn);
    Task<void> first_poll(Served& served, const std::string& access_token, Milliseconds limit);
    Task<Reply> wait(Served& served, const std::string& access_token, Turn turn, Milliseconds timeout);
    Task<std::string> compose(Served& served, Turn& turn);
    std::shared_ptr<Served> serve(const DeviceRow& row);
    void drop(const SessionId& id);
    void tell_dropped(const std::vector<SessionId>& dropped);

    Task<void> housekeeping();
    Task<void> write_used();
    Task<void> expire_sessions();
    Task<void> look_after_followed();
    Task<void> close();
    Status status() const;

    void registered(WorkerKey self) override;
    void disconnected() override;
    void told(std::string_view message) override;

    Access access;
    Worker worker;
    Sessions sessions;
    SessionStore& session_store;
    std::map<DeviceKey, std::shared_ptr<Served>> devices;
    const Settings* settings = nullptr;  ///< of the last request
    std::uint64_t requests = 0;
    Instant expired{};
    Job keeping;
    Job following;
};

Task<Reply> Service::Impl::answer(Request request) {
    std::string access_token = bearer(request.authorization);
    ++worker.status.requests;
    settings = request.settings;
    co_await known_to_database();
    DeviceRow row = co_await access.check(access_token, request.client, request.homeserver);
    RequestQuery query = parse_query(request.query);
    Json body = parse_body(request.body);
    Turn turn;
    if (query.since.empty()) {
        turn = begin_turn(body);
    } else {
        turn = co_await go_on(row.key, query.since, body, request.settings->session_expiry);
    }

    Hold hold(serve(row));
    Served& served = *hold.served;
    Credential credential{access_token, request.client, request.homeserver, request.settings};
    served.used = worker.loop.now();
    served.poller.want(std::move(credential));
    bool synced = co_await served.poller.synced(kSyncedLimit);
    if (!synced && !worker.closing) throw unavailable();
    if (turn.session) {
        co_await come_back(served, turn);
    } else {
        co_await first_poll(served, access_token, request.settings->first_poll_timeout);
        co_await open(served, turn, request.settings->sessions_per_device);
    }
    co_return co_await wait(served, access_token, std::move(turn), std::min(query.timeout, request.settings->max_timeout));
}

/// A worker that has just started, or was cut off for a moment, is registered soon.
Task<void> Service::Impl::known_to_database() {
    Instant until = worker.loop.now() + kSyncedLimit;
    while (!worker.self && !worker.closing) {
        if (worker.loop.now() >= until) throw unavailable();
        co_await worker.registered.wait(until - worker.loop.now());
    }
}

/// A new session, which is made once there is something to answer.
Turn Service::Impl::begin_turn(const Json& body) {
    Turn turn;
    turn.before = std::make_shared<const Filter>();
    turn.filter = std::make_shared<const Filter>(body);
    return turn;
}

/// Nothing is changed before everything about the request is known to be right.
Task<Turn> Service::Impl::go_on(DeviceKey device, std::string_view since, const Json& body, Milliseconds expiry) {
    Turn turn;
    auto token = SyncToken::decode(since);
    if (!token) throw unknown_session();
    turn.token = std::move(*token);
    turn.session = co_await sessions.find(turn.token.session, device, expiry);
    turn.before = co_await sessions.filter(*turn.session, turn.token.filter);
    turn.filter = body.empty() ? turn.before : std::make_shared<const Filter>(turn.before->merged(body));
    if (turn.filter->text() == turn.before->text()) turn.filter = turn.before;
    co_return turn;
}

Task<void> Service::Impl::open(Served& served, Turn& turn, int most) {
    auto opened = co_await sessions.open(served.device.key, turn.filter, most);
    for (const auto& id : opened.dropped) drop(id);
    tell_dropped(opened.dropped);
    turn.session = std::move(opened.session);
    turn.token.session = turn.session->id;
    turn.token.filter = 1;
    turn.token.log = served.device.end();
    begin_streams(turn);
}

Task<void> Service::Impl::come_back(Served& served, Turn& turn) {
    co_await served.poller.reach(turn.token.log);
    if (turn.token.log.generation() > served.device.end().generation()) throw unknown_session();
    if (turn.filter != turn.before) turn.token.filter = co_await sessions.number(*turn.session, turn.token.filter, turn.filter);
    Acknowledged sent = turn.before->acknowledged(turn.token.cursors);
    co_await sessions.acknowledge(*turn.session, sent);
    served.device.acknowledged(turn.session->acknowledged);
    begin_streams(turn);
    co_await sessions.change_streams(*turn.session, sent, turn.filter->acknowledged(turn.token.cursors));
}

void Service::Impl::begin_streams(Turn& turn) {
    Resumed resumed = resume(*turn.before, *turn.filter, turn.token);
    turn.token.cursors = resumed.cursors;
    turn.at_once = resumed.fresh;
}

Task<void> Service::Impl::first_poll(Served& served, const std::string& access_token, Milliseconds limit) {
    Instant until = worker.loop.now() + limit;
    while (!served.device.whole() && !worker.closing) {
        if (const MatrixError* why = access.refusal(access_token)) throw *why;
        if (served.poller.trouble()) throw *served.poller.trouble();
        if (worker.loop.now() >= until) break;
        co_await served.device.changed().wait(until - worker.loop.now());
    }
}

Task<Reply> Service::Impl::wait(Served& served, const std::string& access_token, Turn turn, Milliseconds timeout) {
    Waiting waiting(worker.status.waiting);
    Session& session = *turn.session;
    std::uint64_t mine = session.newest_request = ++requests;
    served.device.changed().notify();
    Instant until = worker.loop.now() + timeout;
    for (;;) {
        if (const MatrixError* why = access.refusal(access_token)) throw *why;
        bool over = turn.at_once || worker.loop.now() >= until || session.newest_request != mine || session.gone || worker.closing;
        bool news = false;
        for (std::size_t i = 0; i < kStreams && !news; ++i) {
            news = turn.filter->stream(i) && turn.filter->stream(i)->has_news(served.device, turn.token.cursors[i]);
        }
        if (over || news) {
            std::string streams = co_await compose(served, turn);
            if (over || !streams.empty()) {
                Reply reply;
                reply.body =
                    R"({"next":")" + turn.token.encode() + '"' + (served.device.whole() ? "" : R"(,"partial":true)") + streams + '}';
                co_return reply;
            }
        }
        // Something may have come while the streams were read; each read has moved its cursor on.
        if (news) continue;
        co_await served.device.changed().wait(std::max(until - worker.loop.now(), Instant{0}));
    }
}

Task<std::string> Service::Impl::compose(Served& served, Turn& turn) {
    std::string streams;
    turn.token.log = std::max(turn.token.log, served.device.end());
    for (std::size_t i = 0; i < kStreams; ++i) {
        const Stream* stream = turn.filter->stream(i);
        if (!stream) continue;
        std::string part;
        turn.token.cursors[i] = co_await stream->read(served.device, turn.token.cursors[i], part);
        if (part.empty()) continue;
        streams += ",\"";
        streams += stream_kinds()[i].name;
        streams += "\":";
        streams += part;
    }
    for (Position cursor : turn.token.cursors) turn.token.log = std::max(turn.token.log, cursor);
    co_return streams;
}

std::shared_ptr<Served> Service::Impl::serve(const DeviceRow& row) {
    auto& served = devices[row.key];
    if (!served) {
        served = std::make_shared<Served>(worker, row);
        served->used_written = worker.loop.now();  // whoever claims the device writes that it is used
    }
    return served;
}

void Service::Impl::tell_dropped(const std::vector<SessionId>& dropped) {
    for (const auto& id : dropped) worker.workers.tell({}, "gone " + id.value);
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
            worker.log(LogLevel::error, std::string("housekeeping failed: ") + error.what());
        }
        access.forget();
        sessions.forget(settings->poll_idle);
        std::erase_if(devices, [](const auto& item) { return item.second.use_count() == 1 && item.second->poller.rests(); });
    }
}

Task<void> Service::Impl::write_used() {
    std::vector<SessionId> used = sessions.take_used(settings->session_expiry / 10);
    std::vector<DeviceKey> used_devices;
    for (auto& [key, served] : devices) {
        bool in_use = !served->poller.rests() && served->used > served->used_written;
        if (!in_use || worker.loop.now() - served->used_written < settings->poll_idle / 10) continue;
        served->used_written = worker.loop.now();
        used_devices.push_back(key);
    }
    if (!used.empty() || !used_devices.empty()) co_await session_store.touch(std::move(used), std::move(used_devices));
}

Task<void> Service::Impl::expire_sessions() {
    Milliseconds every = std::clamp(settings->session_expiry / 10, Milliseconds{100}, Milliseconds{60'000});
    if (worker.loop.now() - expired < every) co_return;
    expired = worker.loop.now();
    std::vector<SessionId> gone = co_await session_store.expire(settings->session_expiry, kExpireAtOnce);
    for (const auto& id : gone) drop(id);
    tell_dropped(gone);
}

/// Its wait, if it has one, is over.
void Service::Impl::drop(const SessionId& id) {
    auto found = devices.find(sessions.drop(id));
    if (found != devices.end()) found->second->device.changed().notify();
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
    sessions.ask_again();
    expired = worker.loop.now();
    for (auto& [key, served] : devices) served->poller.start_again();
    if (!keeping.running()) keeping.start(housekeeping());
    if (!following.running()) following.start(look_after_followed());
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
    worker.registered.notify();
    keeping.cancel();
    following.cancel();
    access.stop();
    std::vector<Lease> leases;
    for (auto& [key, served] : devices) {
        if (auto lease = served->poller.stop()) leases.push_back(*lease);
        served->device.changed().notify();
    }
    try {
        if (!leases.empty()) co_await worker.logs.release(std::move(leases));
        for (Instant until = worker.loop.now() + kCloseLimit; worker.status.waiting > 0 && worker.loop.now() < until;) {
            co_await loop_sleep(worker.loop, Milliseconds{5});
        }
        co_await worker.workers.leave();
    } catch (const std::exception& error) {
        worker.log(LogLevel::warn, std::string("devices could not be handed over: ") + error.what());
    }
}

Status Service::Impl::status() const {
    Status now = worker.status;
    now.devices = devices.size();
    now.sessions = sessions.size();
    for (const auto& [key, served] : devices) {
        const Poller& poller = served->poller;
        if (!poller.polls()) continue;
        ++now.owned;
        if (poller.failing()) ++now.polls_failing;
        now.stalest = std::max<Milliseconds>(now.stalest, worker.loop.now() - poller.last_good());
    }
    return now;
}

Service::Service(Parts parts) : impl_(std::make_unique<Impl>(std::move(parts))) {}
Service::~Service() = default;

Task<Reply> Service::serve(Request request) {
    try {
        co_return co_await impl_->answer(std::move(request));
    } catch (const MatrixError& error) {
        co_return reply_of(error);
    } catch (const DatabaseUnavailable&) {
        co_return reply_of(unavailable());
    } catch (const StatementFailed& error) {
        impl_->worker.log(LogLevel::error, "statement failed (" + error.sqlstate + "): " + error.what());
        co_return reply_of(unavailable());
    } catch (const std::exception& error) {
        impl_->worker.log(LogLevel::error, std::string("request failed: ") + error.what());
        co_return error_reply(500, "M_UNKNOWN", "Internal server error");
    }
}

Task<void> Service::close() {
    return impl_->close();
}

Status Service::status() const {
    return impl_->status();
}

}  // namespace matrix_sync
