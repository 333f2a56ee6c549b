// The core's Database for unit tests: libpq without an event loop. Every statement is carried out before run() returns, so nothing ever
// waits; a transaction has a connection of its own, and any number of them may be open at once.
#pragma once

#include <libpq-fe.h>
#include <poll.h>

#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/loop.hpp"

namespace matrix_sync {

class BlockingConnection {
  public:
    explicit BlockingConnection(const std::string& conninfo)
        : connection_(PQconnectdb((conninfo + " options='-c search_path=matrix_sync'").c_str())) {
        if (PQstatus(connection_) == CONNECTION_OK) return;
        std::string error = PQerrorMessage(connection_);
        PQfinish(connection_);
        throw DatabaseUnavailable(error);
    }
    BlockingConnection(const BlockingConnection&) = delete;
    BlockingConnection& operator=(const BlockingConnection&) = delete;
    ~BlockingConnection() { PQfinish(connection_); }

    PGconn* get() const { return connection_; }
    bool lost() const { return PQstatus(connection_) != CONNECTION_OK; }

    Rows run(const Statement& statement, const Params& params) {
        std::string name = "s" + std::to_string(reinterpret_cast<std::uintptr_t>(&statement));
        if (!prepared_.contains(name)) {
            checked(PQprepare(connection_, name.c_str(), statement.sql, 0, nullptr));
            prepared_.insert(name);
        }
        std::vector<const char*> values;
        std::vector<int> lengths;
        std::vector<int> formats;
        for (const auto& value : params.values()) {
            values.push_back(value.is_null ? nullptr : value.data.data());
            lengths.push_back(static_cast<int>(value.data.size()));
            formats.push_back(1);
        }
        return checked(
            PQexecPrepared(connection_, name.c_str(), static_cast<int>(values.size()), values.data(), lengths.data(), formats.data(), 1));
    }

    /// Text of the tests' own, with values in it: any statements.
    Rows execute(const std::string& sql) { return checked(PQexec(connection_, sql.c_str())); }

  private:
    class Result : public Rows::Source {
      public:
        explicit Result(PGresult* result) : result_(result) {}
        Result(const Result&) = delete;
        Result& operator=(const Result&) = delete;
        ~Result() override { PQclear(result_); }

        std::size_t rows() const override { return static_cast<std::size_t>(PQntuples(result_)); }
        std::size_t columns() const override { return static_cast<std::size_t>(PQnfields(result_)); }
        std::optional<std::string_view> cell(std::size_t row, std::size_t column) const override {
            int r = static_cast<int>(row);
            int c = static_cast<int>(column);
            if (PQgetisnull(result_, r, c)) return std::nullopt;
            return std::string_view(PQgetvalue(result_, r, c), static_cast<std::size_t>(PQgetlength(result_, r, c)));
        }
        std::int64_t affected() const override { return std::atoll(PQcmdTuples(result_)); }

        PGresult* get() const { return result_; }

      private:
        PGresult* result_;
    };

    Rows checked(PGresult* raw) {
        auto result = std::make_unique<Result>(raw);
        auto status = PQresultStatus(raw);
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return Rows(std::move(result));
        if (lost()) throw DatabaseUnavailable(PQerrorMessage(connection_));
        const char* code = PQresultErrorField(raw, PG_DIAG_SQLSTATE);
        throw StatementFailed(code ? code : "", PQresultErrorMessage(raw));
    }

    PGconn* connection_;
    std::set<std::string> prepared_;
};

class BlockingDatabase : public Database {
  public:
    explicit BlockingDatabase(std::string conninfo) : conninfo_(std::move(conninfo)) {}

    Query run(const Statement& statement, Params params) override {
        return attempt([&] { return connected().run(statement, params); });
    }

    Task<std::unique_ptr<Transaction>> begin() override {
        std::unique_ptr<Transaction> transaction = std::make_unique<OpenTransaction>(*this);
        co_return transaction;
    }

    void listen(Listener* listener) override { listener_ = listener; }

    /// Connects, if it is not, and tells the listener. run() does so too.
    void connect() { connected(); }

    /// All connections are lost, and while `reachable` is false there are no new ones.
    void disconnect(bool reachable = true) {
        reachable_ = reachable;
        free_.clear();
        if (!main_) return;
        main_.reset();
        if (listener_) listener_->disconnected();
    }
    void reachable_again() { reachable_ = true; }

    /// Hands the listener what has come; waits for something at most this long. True if there was anything.
    bool poll_notifications(Milliseconds wait = Milliseconds{0}) {
        if (!main_) return false;
        auto limit = std::chrono::steady_clock::now() + wait;
        while (true) {
            if (deliver()) return true;
            auto left = std::chrono::duration_cast<Milliseconds>(limit - std::chrono::steady_clock::now());
            if (left.count() <= 0) return false;
            pollfd readable{PQsocket(main_->get()), POLLIN, 0};
            ::poll(&readable, 1, static_cast<int>(left.count()));
        }
    }

    /// Statements of the test's own, on the first connection, results as text.
    Rows execute(const std::string& sql) { return connected().execute(sql); }
    /// The single value that a SELECT gives, as text; "NULL" for NULL, "" for no row.
    std::string value(const std::string& sql) {
        Rows rows = execute(sql);
        if (rows.empty()) return "";
        return rows.maybe_text(0, 0).value_or("NULL");
    }

  private:
    class Done : public Query::State {
      public:
        bool ready() const override { return true; }
        void wait(std::coroutine_handle<>) override { throw std::logic_error("a query that is ready needs no waiting"); }
        void forget() override {}
        Rows take() override {
            if (error) std::rethrow_exception(error);
            return std::move(rows);
        }

        Rows rows;
        std::exception_ptr error;
    };

    template <class Work>
    static Query attempt(Work work) {
        auto state = std::make_shared<Done>();
        try {
            state->rows = work();
        } catch (...) {
            state->error = std::current_exception();
        }
        return Query(std::move(state));
    }

    class OpenTransaction : public Transaction {
      public:
        explicit OpenTransaction(BlockingDatabase& database) : database_(database), connection_(database.take()) {
            connection_->execute("BEGIN ISOLATION LEVEL READ COMMITTED");
        }
        OpenTransaction(const OpenTransaction&) = delete;
        OpenTransaction& operator=(const OpenTransaction&) = delete;
        ~OpenTransaction() override {
            if (!connection_) return;
            try {
                connection_->execute("ROLLBACK");
                database_.give_back(std::move(connection_));
            } catch (const std::exception&) {
            }
        }

        Query run(const Statement& statement, Params params) override {
            if (!connection_) throw std::logic_error("the transaction is over");
            return attempt([&] {
                try {
                    return connection_->run(statement, params);
                } catch (...) {
                    if (!failure_) failure_ = std::current_exception();
                    throw;
                }
            });
        }

        Task<void> commit(bool durable) override {
            auto connection = std::move(connection_);
            if (!connection) throw std::logic_error("the transaction is over");
            if (failure_) {
                if (!connection->lost()) connection->execute("ROLLBACK");
                database_.give_back(std::move(connection));
                std::rethrow_exception(failure_);
            }
            if (!durable) connection->execute("SET LOCAL synchronous_commit = off");
            connection->execute("COMMIT");
            database_.give_back(std::move(connection));
            co_return;
        }

      private:
        BlockingDatabase& database_;
        std::unique_ptr<BlockingConnection> connection_;
        std::exception_ptr failure_;
    };

    BlockingConnection& connected() {
        if (main_ && main_->lost()) disconnect(reachable_);
        if (!main_) {
            main_ = open();
            if (listener_) listener_->connected();
        }
        return *main_;
    }

    std::unique_ptr<BlockingConnection> open() const {
        if (!reachable_) throw DatabaseUnavailable("the test says so");
        return std::make_unique<BlockingConnection>(conninfo_);
    }

    std::unique_ptr<BlockingConnection> take() {
        if (free_.empty()) return open();
        auto connection = std::move(free_.back());
        free_.pop_back();
        return connection;
    }

    void give_back(std::unique_ptr<BlockingConnection> connection) {
        if (!connection->lost()) free_.push_back(std::move(connection));
    }

    bool deliver() {
        PQconsumeInput(main_->get());
        bool any = false;
        while (main_) {
            std::unique_ptr<PGnotify, decltype(&PQfreemem)> notification(PQnotifies(main_->get()), PQfreemem);
            if (!notification) break;
            any = true;
            if (listener_) listener_->notified(notification->relname, notification->extra);
        }
        return any;
    }

    std::string conninfo_;
    Listener* listener_ = nullptr;
    bool reachable_ = true;
    std::unique_ptr<BlockingConnection> main_;
    std::vector<std::unique_ptr<BlockingConnection>> free_;
};

}  // namespace matrix_sync
