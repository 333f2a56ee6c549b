#include "nginx/connection.hpp"

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr Milliseconds patience{10000};
constexpr int results_in_a_slice = 64;

const Statement get_backend{"backend", "SELECT pg_backend_pid()"};

constexpr const char* a_pooler =
    "a connection pooler answers instead of PostgreSQL: matrix_sync_database has to connect to PostgreSQL directly";

/// PgBouncer takes no settings with a connection; PostgreSQL takes all.
std::string why_refused(const std::string& said) {
    bool pooler = said.find("unsupported startup parameter") != std::string::npos;
    return pooler ? said + a_pooler : said;
}

/// libpq's messages have several lines.
std::string one_line(std::string_view text) {
    std::string line;
    for (char c : text) {
        if (c == '\n') {
            line += "; ";
        } else if (c != '\t') {
            line += c;
        }
    }
    while (line.ends_with("; ")) line.resize(line.size() - 2);
    return line;
}

}  // namespace

Connection::Connection(Loop& loop, ConnectionParameters& parameters, Owner& owner) : loop_(loop), parameters_(parameters), owner_(owner) {}

Connection::~Connection() {
    close();
}

void Connection::open() {
    auto keywords = parameters_.keywords();
    auto values = parameters_.values();
    state_ = State::connecting;
    ++generation_;
    pg_ = PQconnectStartParams(keywords.data(), values.data(), 0);
    if (!pg_ || PQstatus(pg_) == CONNECTION_BAD || !attach()) {
        broken_ = one_line(pg_ ? PQerrorMessage(pg_) : "out of memory");
        loop_.post(broke_);
        return;
    }
    PQsetNoticeReceiver(
        pg_, [](void*, const PGresult*) {}, nullptr);
    loop_.arm(deadline_, patience);
    want_write(true);
}

void Connection::close() {
    checking_.cancel();
    disconnect("closed");
}

bool Connection::attach() {
    int fd = PQsocket(pg_);
    if (socket_ && socket_->fd == fd) return true;
    detach();
    socket_ = ngx_get_connection(fd, ngx_cycle->log);
    if (!socket_) return false;
    socket_->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    socket_->shared = 1;  // libpq closes the descriptor
    socket_->data = this;
    socket_->read->handler = socket_->write->handler = on_event;
    socket_->read->log = socket_->write->log = ngx_cycle->log;
    return ngx_add_event(socket_->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) == NGX_OK;
}

void Connection::detach() {
    if (!socket_) return;
    bool still_open = pg_ && PQsocket(pg_) == socket_->fd;
    if (socket_->read->active || socket_->write->active) ngx_del_conn(socket_, still_open ? 0 : NGX_CLOSE_EVENT);
    ngx_close_connection(socket_);
    socket_ = nullptr;
}

void Connection::want_write(bool wanted) {
    if (!socket_ || wanted == static_cast<bool>(socket_->write->active)) return;
    if (wanted) {
        ngx_add_event(socket_->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
    } else {
        ngx_del_event(socket_->write, NGX_WRITE_EVENT, 0);
    }
}

void Connection::on_event(ngx_event_t* event) {
    auto& self = *static_cast<Connection*>(static_cast<ngx_connection_t*>(event->data)->data);
    guard(event->log, [&] {
        if (self.state_ == State::connecting) return self.go_on_connecting();
        if (event->write) {
            self.flush();
        } else {
            self.read();
        }
    });
}

void Connection::go_on_connecting() {
    detach();  // it may close this descriptor, and open another under the same number
    auto wanted = PQconnectPoll(pg_);
    if (wanted == PGRES_POLLING_FAILED) return lost(why_refused(PQerrorMessage(pg_)));
    if (!attach()) return lost("nginx has no connection to spare");
    want_write(wanted == PGRES_POLLING_WRITING);
    if (wanted != PGRES_POLLING_OK) return;

    state_ = State::checking;
    if (PQsetnonblocking(pg_, 1) != 0 || !PQenterPipelineMode(pg_)) return lost(PQerrorMessage(pg_));
    checking_.start(check(), [this](std::exception_ptr error) {
        if (error) {
            try {
                std::rethrow_exception(error);
            } catch (const std::exception& refused) {
                return lost(refused.what());
            }
        }
        state_ = State::open;
        owner_.opened(*this);
    });
}

/// A pooler hands out backends as it likes: what is prepared on one is missing on the next, and nobody would hear a notification.
Task<void> Connection::check() {
    auto pending = std::make_shared<PendingQuery>(loop_);
    send(get_backend, Params(), pending);
    sync();
    Query query(std::move(pending));
    Rows rows = co_await query;
    if (rows.integer(0, 0) != PQbackendPID(pg_)) {
        throw DatabaseUnavailable(a_pooler);
    }
}

void Connection::send(const Statement& statement, const Params& params, std::shared_ptr<PendingQuery> query) {
    if (state_ == State::closed || state_ == State::connecting || broke_.pending()) {
        if (query) query->fail(std::make_exception_ptr(DatabaseUnavailable("not connected")));
        return;
    }
    const auto& given = params.values();
    std::vector<const char*> values;
    std::vector<int> lengths;
    for (const auto& value : given) {
        values.push_back(value.is_null ? nullptr : value.data.data());
        lengths.push_back(static_cast<int>(value.data.size()));
    }
    std::vector<int> formats(given.size(), 1);
    bool sent = send_prepare(statement) && PQsendQueryPrepared(pg_, prepared_[&statement].c_str(), static_cast<int>(given.size()),
                                                               values.data(), lengths.data(), formats.data(), 1);
    if (!sent) {
        broken_ = PQerrorMessage(pg_);
        loop_.post(broke_);
        if (query) query->fail(std::make_exception_ptr(DatabaseUnavailable(one_line(broken_))));
        return;
    }
    if (sent_.empty()) loop_.arm(deadline_, patience);
    sent_.push_back({Sent::Kind::statement, &statement, std::move(query)});
    wants_answers_ = true;
    if (!flush_.pending()) loop_.post(flush_);
}

bool Connection::send_prepare(const Statement& statement) {
    if (prepared_.contains(&statement)) return true;
    std::string name = std::string(statement.name) + "_" + std::to_string(++statements_);
    if (!PQsendPrepare(pg_, name.c_str(), statement.sql, 0, nullptr)) return false;
    prepared_.emplace(&statement, std::move(name));
    if (sent_.empty()) loop_.arm(deadline_, patience);
    sent_.push_back({Sent::Kind::prepare, &statement, nullptr});
    return true;
}

void Connection::sync(bool release) {
    if (state_ == State::closed || broke_.pending()) return;
    if (!PQpipelineSync(pg_)) {
        broken_ = PQerrorMessage(pg_);
        loop_.post(broke_);
        return;
    }
    if (sent_.empty()) loop_.arm(deadline_, patience);
    sent_.push_back({Sent::Kind::sync, nullptr, nullptr, release});
    wants_answers_ = false;
    if (!flush_.pending()) loop_.post(flush_);
}

void Connection::flush() {
    if (state_ == State::closed) return;
    // Without a sync PostgreSQL keeps its answers until it is asked for them.
    if (std::exchange(wants_answers_, false) && !PQsendFlushRequest(pg_)) return lost(PQerrorMessage(pg_));
    int left = PQflush(pg_);
    if (left < 0) return lost(PQerrorMessage(pg_));
    if (left > 0 && !sent_.empty()) loop_.arm(deadline_, patience);  // what is long is still on its way
    want_write(left > 0);
}

void Connection::read() {
    if (!PQconsumeInput(pg_)) return lost(PQerrorMessage(pg_));
    process();
}

void Connection::process() {
    std::uint64_t generation = generation_;
    int left = results_in_a_slice;
    while (left > 0 && next_result()) --left;
    if (generation != generation_ || state_ == State::closed) return;
    if (PQstatus(pg_) == CONNECTION_BAD) return lost(PQerrorMessage(pg_));
    while (PGnotify* notify = PQnotifies(pg_)) {
        std::unique_ptr<PGnotify, decltype(&PQfreemem)> owned(notify, PQfreemem);
        owner_.notified(notify->relname, notify->extra);
    }
    if (left == 0) {
        loop_.post(more_);
        return;
    }
    flush();
}

/// False when there is none to be had now.
bool Connection::next_result() {
    if (sent_.empty() || PQisBusy(pg_)) return false;
    Result result(PQgetResult(pg_));
    if (PQstatus(pg_) == CONNECTION_BAD) return false;
    if (!result && !sent_.front().answered) {
        // libpq had not gone on to the next one yet.
        if (PQisBusy(pg_)) return false;
        result.reset(PQgetResult(pg_));
        if (!result) return false;
    }
    progressed();
    if (result && PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) {
        bool release = sent_.front().release;
        sent_.pop_front();
        synced(release);
    } else if (result) {
        answered(sent_.front(), std::move(result));
    } else {
        sent_.pop_front();
    }
    return true;
}

void Connection::answered(Sent& sent, Result result) {
    sent.answered = true;
    auto status = PQresultStatus(result.get());
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        if (sent.query) sent.query->succeed(rows_of(std::move(result)));
        return;
    }
    if (status != PGRES_PIPELINE_ABORTED) ++refused_;
    if (status != PGRES_PIPELINE_ABORTED || !error_) error_ = error_of(result.get());
    if (sent.kind == Sent::Kind::prepare) prepared_.erase(sent.statement);
    if (sent.query) sent.query->fail(error_);
}

void Connection::synced(bool release) {
    bool failed = std::exchange(error_, nullptr) != nullptr;
    if (!release) return;
    if (!failed) return owner_.released(*this);
    send(roll_back, Params(), nullptr);
    sync(true);
}

void Connection::progressed() {
    if (sent_.size() > 1) {
        loop_.arm(deadline_, patience);
    } else if (sent_.front().answered || sent_.front().kind == Sent::Kind::sync) {
        deadline_.cancel();
    }
}

void Connection::late() {
    if (state_ == State::open) return lost("no answer within 10 s");
    parameters_.next_host();
    lost("could not connect within 10 s");
}

void Connection::lost(std::string why) {
    if (state_ == State::closed) return;
    why = one_line(why);
    checking_.cancel();
    disconnect(why);
    owner_.closed(*this, why);
}

void Connection::disconnect(const std::string& why) {
    state_ = State::closed;
    for (auto* callback : {&flush_, &more_, &broke_, &deadline_}) callback->cancel();
    detach();  // while the descriptor is still this connection's
    if (pg_) PQfinish(std::exchange(pg_, nullptr));
    prepared_.clear();
    error_ = nullptr;
    wants_answers_ = false;
    for (auto& sent : std::exchange(sent_, {})) {
        if (sent.query && !sent.query->ready()) sent.query->fail(std::make_exception_ptr(DatabaseUnavailable(why)));
    }
}

}  // namespace matrix_sync
