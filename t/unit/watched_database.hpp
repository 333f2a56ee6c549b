// A Database that stands between the code under test and PostgreSQL: it notes what is done, makes transactions wait, and makes statements
// fail.
#pragma once

#include <coroutine>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

/// Closed, it holds whoever waits for it.
class Gate {
  public:
    bool closed = false;

    void open() {
        closed = false;
        for (auto waiter : std::exchange(waiters_, {})) waiter.resume();
    }
    std::size_t waiting() const { return waiters_.size(); }

    class Pass {
      public:
        explicit Pass(Gate& gate) : gate_(gate) {}
        bool await_ready() const { return !gate_.closed; }
        void await_suspend(std::coroutine_handle<> waiter) { gate_.waiters_.push_back(waiter); }
        void await_resume() {}

      private:
        Gate& gate_;
    };
    Pass pass() { return Pass(*this); }

  private:
    std::vector<std::coroutine_handle<>> waiters_;
};

class WatchedDatabase : public Database {
  public:
    explicit WatchedDatabase(Database& real) : real_(real) {}

    Gate begins;
    Gate commits;
    std::vector<bool> durable;  ///< of each commit
    int begun = 0;
    std::map<std::string, std::pair<const Statement*, std::size_t>> statements;  ///< by name, with the number of parameters
    /// Called before each statement; may throw.
    std::function<void(const Statement&)> before;

    Query run(const Statement& statement, Params params) override {
        note(statement, params);
        return real_.run(statement, std::move(params));
    }

    Task<std::unique_ptr<Transaction>> begin() override {
        ++begun;
        co_await begins.pass();
        auto real = co_await real_.begin();
        std::unique_ptr<Transaction> watched = std::make_unique<Watched>(*this, std::move(real));
        co_return watched;
    }

    void listen(Listener* listener) override { real_.listen(listener); }

  private:
    class Watched : public Transaction {
      public:
        Watched(WatchedDatabase& database, std::unique_ptr<Transaction> real) : database_(database), real_(std::move(real)) {}

        Query run(const Statement& statement, Params params) override {
            database_.note(statement, params);
            return real_->run(statement, std::move(params));
        }
        Task<void> commit(bool durable) override {
            co_await database_.commits.pass();
            co_await real_->commit(durable);
            database_.durable.push_back(durable);
        }

      private:
        WatchedDatabase& database_;
        std::unique_ptr<Transaction> real_;
    };

    void note(const Statement& statement, const Params& params) {
        statements[statement.name] = {&statement, params.values().size()};
        if (before) before(statement);
    }

    Database& real_;
};

}  // namespace matrix_sync
