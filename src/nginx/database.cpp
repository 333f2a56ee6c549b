#include "nginx/database.hpp"

#include <algorithm>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr Milliseconds first_connection_patience{2000};
constexpr Milliseconds turn_patience{10000};
constexpr Milliseconds shortest_pause{100};
constexpr Milliseconds longest_pause{5000};

const Statement begin_transaction{"begin", "BEGIN ISOLATION LEVEL READ COMMITTED"};
const Statement commit_soon{"commit_soon", "SET LOCAL synchronous_commit = off"};
const Statement commit_transaction{"commit", "COMMIT"};

Milliseconds jittered(Milliseconds pause) {
    auto half = pause.count() / 2;
    return Milliseconds{half + static_cast<std::int64_t>(ngx_random()) % (half + 1)};
}

std::exception_ptr unavailable(const std::string& why) {
    return std::make_exception_ptr(DatabaseUnavailable(why));
}

}  // namespace

/// A connection and what it is used for.
struct NginxDatabase::Line {
    Line(NginxDatabase& database, Loop& loop) : connection(loop, database.parameters_, database), retry([this] { connection.open(); }) {}

    Connection connection;
    Callback retry;
    Milliseconds pause = shortest_pause;
    bool busy = false;        ///< carries a transaction
    bool complained = false;  ///< the operator knows that it cannot be made
};

/// Somebody who waits for a connection, in the order of asking.
class NginxDatabase::Turn : private Deferred {
  public:
    explicit Turn(NginxDatabase& database) : database_(database) {}
    ~Turn() override {
        cancel();
        if (line_) database_.give(*line_);
    }

    bool await_ready() {
        bool connected = database_.first().connection.is_open();
        if (!connected && !database_.starting()) {
            error_ = unavailable("not connected");
            return true;
        }
        line_ = connected && !database_.turns_.linked() ? database_.take_free() : nullptr;
        return line_ != nullptr;
    }
    void await_suspend(std::coroutine_handle<> awaiter) {
        awaiter_ = awaiter;
        place_.insert_before(database_.turns_);
        database_.loop_.arm(*this, turn_patience);
        if (database_.first().connection.is_open()) database_.open_another();
    }
    Line* await_resume() {
        if (error_) std::rethrow_exception(error_);
        if (!line_) throw DatabaseUnavailable("every connection was busy for 10 s");
        return std::exchange(line_, nullptr);
    }

  private:
    friend class NginxDatabase;
    struct Place : matrix_sync::Link {
        explicit Place(Turn& turn) : of(turn) {}
        Turn& of;
    };

    void come(Line* line, std::exception_ptr error) {
        place_.unlink();
        line_ = line;
        error_ = std::move(error);
        database_.loop_.post(*this);
    }
    void fire() override {
        place_.unlink();
        awaiter_.resume();
    }

    NginxDatabase& database_;
    Place place_{*this};
    Line* line_ = nullptr;
    std::exception_ptr error_;
    std::coroutine_handle<> awaiter_;
};

class NginxDatabase::OneTransaction final : public Transaction {
  public:
    OneTransaction(NginxDatabase& database, Line& line) : database_(database), line_(&line), generation_(line.connection.generation()) {}
    OneTransaction(const OneTransaction&) = delete;
    OneTransaction& operator=(const OneTransaction&) = delete;
    ~OneTransaction() override {
        if (!alive()) return;
        Line& line = *std::exchange(line_, nullptr);
        if (!begun_) {
            database_.give(line);
            return;
        }
        line.connection.sync();  // past whatever has failed
        database_.send(line, roll_back, Params());
        line.connection.sync(true);
    }

    Query run(const Statement& statement, Params params) override {
        if (!alive()) return lost();
        start();
        return Query(database_.send(*line_, statement, params));
    }

    Task<void> commit(bool durable) override {
        if (!alive()) throw DatabaseUnavailable("the connection was lost during a transaction");
        Line& line = *std::exchange(line_, nullptr);
        if (!begun_) {
            database_.give(line);
            co_return;
        }
        if (!durable) database_.send(line, commit_soon, Params());
        Query committed(database_.send(line, commit_transaction, Params()));
        line.connection.sync(true);
        co_await committed;
    }

  private:
    bool alive() const { return line_ && line_->connection.is_open() && line_->connection.generation() == generation_; }
    void start() {
        if (std::exchange(begun_, true)) return;
        ++database_.counted_.transactions;
        database_.send(*line_, begin_transaction, Params());
    }
    Query lost() {
        auto query = std::make_shared<PendingQuery>(database_.loop_);
        query->fail(unavailable("the connection was lost during a transaction"));
        return Query(std::move(query));
    }

    NginxDatabase& database_;
    Line* line_;
    std::uint64_t generation_;
    bool begun_ = false;
};

NginxDatabase::NginxDatabase(Loop& loop, const std::string& conninfo, unsigned connections, Log log)
    : loop_(loop), parameters_(conninfo), log_(std::move(log)), starting_([this] { fail_turns("not connected"); }) {
    for (unsigned i = 0; i < connections; ++i) lines_.push_back(std::make_unique<Line>(*this, loop));
}

NginxDatabase::~NginxDatabase() {
    close();
}

void NginxDatabase::open() {
    loop_.arm(starting_, first_connection_patience);
    first().connection.open();
}

void NginxDatabase::close() {
    closed_ = true;
    starting_.cancel();
    for (auto& line : lines_) {
        line->retry.cancel();
        line->connection.close();
        line->busy = false;
    }
    fail_turns("closed");
}

Query NginxDatabase::run(const Statement& statement, Params params) {
    ++counted_.queries;
    auto query = std::make_shared<PendingQuery>(loop_);
    if (!first().connection.is_open() && starting()) {
        early_.push_back({&statement, std::move(params), query});
    } else {
        first().connection.send(statement, params, query);
        first().connection.sync();
    }
    return Query(std::move(query));
}

Task<std::unique_ptr<Transaction>> NginxDatabase::begin() {
    Turn turn(*this);
    Line* line = co_await turn;
    std::unique_ptr<Transaction> transaction(new OneTransaction(*this, *line));
    co_return transaction;
}

std::shared_ptr<PendingQuery> NginxDatabase::send(Line& line, const Statement& statement, const Params& params) {
    auto query = std::make_shared<PendingQuery>(loop_);
    line.connection.send(statement, params, query);
    return query;
}

NginxDatabase::Line& NginxDatabase::line_of(Connection& connection) {
    auto is_it = [&](const auto& line) { return &line->connection == &connection; };
    return **std::find_if(lines_.begin(), lines_.end(), is_it);
}

NginxDatabase::Line* NginxDatabase::take_free() {
    for (std::size_t i = 1; i < lines_.size(); ++i) {
        Line& line = *lines_[i];
        if (line.connection.is_open() && !line.busy) {
            line.busy = true;
            return &line;
        }
    }
    return nullptr;
}

void NginxDatabase::open_another() {
    for (std::size_t i = 1; i < lines_.size(); ++i) {
        Line& line = *lines_[i];
        if (!line.connection.is_closed() || line.retry.pending()) continue;
        return line.connection.open();
    }
}

void NginxDatabase::give(Line& line) {
    line.busy = false;
    if (closed_ || !line.connection.is_open() || !turns_.linked()) return;
    line.busy = true;
    static_cast<Turn::Place&>(turns_.next()).of.come(&line, nullptr);
}

void NginxDatabase::fail_turns(const std::string& why) {
    while (turns_.linked()) static_cast<Turn::Place&>(turns_.next()).of.come(nullptr, unavailable(why));
    for (auto& early : std::exchange(early_, {})) early.query->fail(unavailable(why));
}

void NginxDatabase::opened(Connection& connection) {
    Line& line = line_of(connection);
    line.pause = shortest_pause;
    bool again = std::exchange(line.complained, false);
    if (&line != &first()) return give(line);

    starting_.cancel();
    if (again) log_(LogLevel::notice, "connected to the database again");
    up_ = true;
    if (listener_) listener_->connected();
    for (auto& early : std::exchange(early_, {})) {
        connection.send(*early.statement, early.params, early.query);
        connection.sync();
    }
    if (turns_.linked()) open_another();
}

void NginxDatabase::closed(Connection& connection, const std::string& why) {
    Line& line = line_of(connection);
    line.busy = false;
    auto pause = jittered(line.pause);
    line.pause = std::min(line.pause * 2, longest_pause);
    loop_.arm(line.retry, pause);
    if (&line == &first()) return first_closed(why);

    if (!turns_.linked()) {  // nobody wants it now
        line.retry.cancel();
        return;
    }
    if (!std::exchange(line.complained, true)) log_(LogLevel::warn, "another connection to the database failed, trying again: " + why);
    auto is_open = [&](const auto& other) { return other != lines_.front() && other->connection.is_open(); };
    if (std::none_of(lines_.begin(), lines_.end(), is_open)) fail_turns(why);
}

void NginxDatabase::first_closed(const std::string& why) {
    bool was_up = std::exchange(up_, false);
    if (was_up) ++counted_.lost;
    if (!std::exchange(first().complained, true)) {
        log_(LogLevel::error,
             (was_up ? "the connection to the database was lost, trying again: " : "cannot connect to the database, trying again: ") + why);
    }
    if (was_up && listener_) listener_->disconnected();
    if (!starting()) fail_turns(why);
}

void NginxDatabase::released(Connection& connection) {
    give(line_of(connection));
}

void NginxDatabase::notified(std::string_view channel, std::string_view payload) {
    if (listener_) listener_->notified(channel, payload);
}

DatabaseStatus NginxDatabase::status() const {
    DatabaseStatus status = counted_;
    status.connected = lines_.front()->connection.is_open() ? 1 : 0;
    for (const auto& line : lines_) {
        status.connections += line->connection.is_open() ? 1 : 0;
        status.errors += line->connection.refused();
    }
    for (Link* turn = &turns_.next(); turn != &turns_; turn = &turn->next()) ++status.waiting;
    return status;
}

}  // namespace matrix_sync
