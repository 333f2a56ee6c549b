// A request, from its access token to its reply.
#include <algorithm>

#include "core/devices/fetch.hpp"
#include "core/json/writer.hpp"
#include "core/service_impl.hpp"
#include "core/sessions/query.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

/// How long a request waits for the database or for another worker's log before it is told to come again.
constexpr Milliseconds kSyncedLimit{4'000};
constexpr Milliseconds kRetryAfter{2'000};

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

MatrixError no_such_page() {
    return {400, "M_INVALID_PARAM", "p.since: no such page"};
}

bool later_page(const PagesAsked& pages) {
    return std::ranges::any_of(pages, [](const auto& page) { return page && *page != kFirstPage; });
}

bool pages_go_together(const Turn& turn) {
    const bool first = std::ranges::any_of(turn.pages, [](const auto& page) { return page == kFirstPage; });
    return !first && asks_the_same(*turn.before, *turn.filter, turn.pages);
}

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

/// Time that a request spends waiting for news, also when it ends by the client hanging up.
struct Waited {
    Waited(const Loop& of, Facts& facts_of) : loop(of), facts(facts_of), began(of.now()) {}
    Waited(const Waited&) = delete;
    Waited& operator=(const Waited&) = delete;
    ~Waited() { facts.waited = facts.waited.value_or(Milliseconds{0}) + (loop.now() - began); }
    const Loop& loop;
    Facts& facts;
    Instant began;
};

void add_name(std::string& names, std::string_view name) {
    if (!names.empty()) names += ',';
    names += name;
}

}  // namespace

Reply error_reply(int status, std::string_view errcode, std::string_view error, std::optional<Milliseconds> retry_after) {
    MatrixError what(status, std::string(errcode), std::string(error));
    what.retry_after = retry_after;
    return reply_of(what);
}

/// None when the device turns out to have been pruned, since nobody had used it for long: asked again, it is made anew.
Task<std::optional<Reply>> Service::Impl::answer(const Request& request) {
    std::string access_token = bearer(request.authorization);
    settings = request.settings;
    co_await known_to_database();
    DeviceRow row = co_await access.check(access_token, request.client, request.homeserver);
    request.facts->user = row.user.value;
    request.facts->device = row.device.value;
    RequestQuery query = parse_query(request.query);
    Json body = parse_body(request.body);
    Turn turn;
    if (query.since.empty()) {
        turn = begin_turn(std::move(body));
    } else {
        turn = co_await go_on(row.key, query.since, std::move(body), request.settings->session_expiry);
    }
    turn.facts = request.facts;
    turn.may_wait = request.may_wait;
    say_what_is_asked(turn);
    const Milliseconds timeout = std::min(query.timeout, request.settings->max_timeout);

    Hold hold(serve(row));
    Served& served = *hold.served;
    Credential credential{access_token, request.client, request.homeserver, request.settings};
    served.used = worker.loop.now();
    served.poller.want(credential);
    bool synced = co_await served.poller.synced(kSyncedLimit);
    if (served.poller.pruned()) {
        access.forget(row.key);
        devices.erase(row.key);
        co_return std::nullopt;
    }
    if (!synced && !worker.closing) throw unavailable();
    std::optional<Reply> reply;
    if (later_page(turn.pages)) {
        reply = co_await later_pages(served, credential, std::move(turn), query.since);
        co_return reply;
    }
    if (turn.session) {
        co_await come_back(served, turn, timeout > Milliseconds{0});
    } else {
        co_await first_poll(served, access_token, request.settings->first_poll_timeout);
        co_await served.poller.reach_end();
        co_await open(served, turn, request.settings->sessions_per_device);
        request.facts->session = turn.session->id.value;
    }
    reply = co_await wait(served, credential, std::move(turn), timeout);
    co_return reply;
}

void Service::Impl::say_what_is_asked(const Turn& turn) {
    if (turn.session) turn.facts->session = turn.session->id.value;
    for (std::size_t i = 0; i < kStreams; ++i) {
        if (turn.filter->stream(i)) add_name(turn.facts->streams, stream_kinds()[i].name);
    }
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
Turn Service::Impl::begin_turn(Json body) {
    Turn turn;
    turn.pages = take_pages(body);
    if (later_page(turn.pages)) throw no_such_page();
    for (std::size_t i = 0; i < kStreams; ++i) {
        if (stream_kinds()[i].paginated) turn.pages[i] = kFirstPage;
    }
    turn.before = std::make_shared<const Filter>();
    turn.filter = std::make_shared<const Filter>(body);
    return turn;
}

/// Nothing is changed before everything about the request is known to be right.
Task<Turn> Service::Impl::go_on(DeviceKey device, std::string_view since, Json body, Milliseconds expiry) {
    Turn turn;
    turn.pages = take_pages(body);
    auto token = SyncToken::decode(since);
    if (!token) throw unknown_session();
    turn.token = std::move(*token);
    turn.session = co_await sessions.find(turn.token.session, device, expiry);
    turn.before = co_await sessions.filter(*turn.session, turn.token.filter);
    turn.filter = body.empty() ? turn.before : std::make_shared<const Filter>(turn.before->merged(body));
    if (turn.filter->text() == turn.before->text()) turn.filter = turn.before;
    if (later_page(turn.pages) && !pages_go_together(turn)) throw no_such_page();
    co_return turn;
}

Task<void> Service::Impl::open(Served& served, Turn& turn, int most) {
    auto opened = co_await sessions.open(served.device.key, turn.filter, served.device.end(), most);
    for (const auto& id : opened.dropped) drop(id);
    tell_dropped(opened.dropped);
    turn.session = std::move(opened.session);
    turn.token.session = turn.session->id;
    turn.token.filter = 1;
    turn.token.log = served.device.end();
    begin_streams(turn, false);
}

Task<void> Service::Impl::come_back(Served& served, Turn& turn, bool may_wait) {
    co_await served.poller.reach(turn.token.log);
    if (turn.token.log.generation() > served.device.end().generation()) turn.token.go_back_to(served.device.end());
    turn.session->reach = turn.token.reach();
    if (turn.filter != turn.before) turn.token.filter = co_await sessions.number(*turn.session, turn.token.filter, turn.filter);
    Acknowledged sent = turn.before->acknowledged(turn.token.cursors);
    co_await sessions.acknowledge(*turn.session, sent);
    served.device.acknowledged(turn.session->acknowledged);
    begin_streams(turn, may_wait);
    co_await sessions.change_streams(*turn.session, sent, turn.filter->acknowledged(turn.token.cursors));
}

void Service::Impl::begin_streams(Turn& turn, bool may_wait) {
    Resumed resumed = resume(*turn.before, *turn.filter, turn.token, turn.pages, may_wait);
    turn.token.cursors = resumed.cursors;
    turn.shows = resumed.shows;
    turn.at_once = resumed.fresh;
}

Reading Service::Impl::reading(Served& served, const Credential& credential, const Turn& turn) {
    return {worker.loop, worker.rooms, worker.cache, worker.member_lists, served.device, credential, turn.session->id};
}

/// Pages of a snapshot: nothing is waited for, and the session stays where it is.
Task<Reply> Service::Impl::later_pages(Served& served, const Credential& credential, Turn turn, std::string_view since) {
    co_await served.poller.reach(turn.token.log);
    Reading from = reading(served, credential, turn);
    JsonWriter json;
    json.object().key("next").string(since);
    if (!served.device.whole()) json.key("partial").boolean(true);
    for (std::size_t i = 0; i < kStreams; ++i) {
        if (!turn.pages[i]) continue;
        const Stream* stream = turn.filter->stream(i);
        if (!stream) throw no_such_page();
        std::string part;
        co_await stream->read_page(from, *turn.pages[i], part);
        if (part.empty()) continue;
        json.key(stream_kinds()[i].name).raw(part);
        add_name(turn.facts->news, stream_kinds()[i].name);
    }
    json.end_object();
    Reply reply;
    reply.body = json.take();
    co_return reply;
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

Task<Reply> Service::Impl::wait(Served& served, const Credential& credential, Turn turn, Milliseconds timeout) {
    Waiting waiting(worker.status.waiting);
    turn.facts->waited = Milliseconds{0};
    Session& session = *turn.session;
    std::uint64_t mine = session.newest_request = ++requests;
    served.device.changed().notify();
    Instant until = worker.loop.now() + timeout;
    for (;;) {
        if (const MatrixError* why = access.refusal(credential.access_token)) throw *why;
        bool over = turn.at_once || worker.loop.now() >= until || session.newest_request != mine || session.gone || worker.closing ||
                    served.poller.pruned();
        bool news = false;
        for (std::size_t i = 0; i < kStreams && !news; ++i) {
            news = turn.filter->stream(i) && turn.filter->stream(i)->has_news(served.device, turn.token.cursors[i], turn.shows[i]);
        }
        if (over || news) {
            co_await still_known(served);
            std::string streams = co_await compose(served, credential, turn);
            if (over || !streams.empty()) {
                Reply reply;
                reply.body =
                    R"({"next":")" + turn.token.encode() + '"' + (served.device.whole() ? "" : R"(,"partial":true)") + streams + '}';
                co_return reply;
            }
        }
        // Something may have come while the streams were read; each read has moved its cursor on.
        if (news) continue;
        if (!turn.may_wait) throw no_connections_to_spare();
        tell_newer(session);
        Waited waited(worker.loop, *turn.facts);
        co_await served.device.changed().wait(std::max(until - worker.loop.now(), Instant{0}));
    }
}

/// While it waited the database may have been replaced by an older copy of it, in which the device's number is somebody else's.
Task<void> Service::Impl::still_known(Served& served) {
    if (!worker.self || worker.closing) co_return;
    bool synced = co_await served.poller.synced(kSyncedLimit);
    if (served.poller.pruned()) throw unknown_session();
    if (!synced && !worker.closing) throw unavailable();
}

Task<std::string> Service::Impl::compose(Served& served, const Credential& credential, Turn& turn) {
    std::string streams;
    turn.facts->news.clear();
    Reading from = reading(served, credential, turn);
    turn.token.log = std::max(turn.token.log, served.device.end());
    for (std::size_t i = 0; i < kStreams; ++i) {
        const Stream* stream = turn.filter->stream(i);
        if (!stream) continue;
        std::string part;
        turn.token.cursors[i] = co_await stream->read(from, turn.token.cursors[i], turn.shows[i], part);
        if (part.empty()) continue;
        streams += ",\"";
        streams += stream_kinds()[i].name;
        streams += "\":";
        add_name(turn.facts->news, stream_kinds()[i].name);
        streams += part;
    }
    for (const Cursor& cursor : turn.token.cursors) turn.token.log = std::max(turn.token.log, cursor.at);
    co_return streams;
}

std::shared_ptr<Served> Service::Impl::serve(const DeviceRow& row) {
    auto& served = devices[row.key];
    if (!served || served->device.user != row.user || served->device.id != row.device) {
        served = std::make_shared<Served>(worker, row);
        served->used_written = worker.loop.now();  // whoever claims the device writes that it is used
    }
    return served;
}

Service::Service(Parts parts) : impl_(std::make_unique<Impl>(std::move(parts))) {}
Service::~Service() = default;

Task<Reply> Service::serve(Request request) {
    Facts nobody_asks;
    if (!request.facts) request.facts = &nobody_asks;
    Status& status = impl_->worker.status;
    ++status.requests;
    std::optional<MatrixError> failure;
    try {
        std::optional<Reply> reply;
        while (!reply) reply = co_await impl_->answer(request);
        status.replied(reply->status, "");
        co_return std::move(*reply);
    } catch (const MatrixError& error) {
        failure = error;
    } catch (const DatabaseUnavailable&) {
        failure = unavailable();
    } catch (const StatementFailed& error) {
        impl_->statement_failed.write(LogLevel::error, "a request is answered with 503, PostgreSQL refuses a statement (SQLSTATE " +
                                                           error.sqlstate + "): " + error.what());
        failure = unavailable();
    } catch (const std::exception& error) {
        impl_->request_failed.write(LogLevel::error,
                                    std::string("a request is answered with 500, by an error of this module: ") + error.what());
        failure.emplace(500, "M_UNKNOWN", "Internal server error");
    }
    status.replied(failure->status, failure->errcode);
    co_return reply_of(*failure);
}

Task<void> Service::close() {
    return impl_->close();
}

Status Service::status() const {
    return impl_->status();
}

}  // namespace matrix_sync
