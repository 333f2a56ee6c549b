// A statement that is on its way to PostgreSQL, and its answer. Whoever awaits it is resumed by the loop, never from within libpq's.
#pragma once

#include <libpq-fe.h>

#include <coroutine>
#include <exception>
#include <memory>

#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"

namespace matrix_sync {

class PendingQuery final : public Query::State, private Deferred {
  public:
    explicit PendingQuery(Loop& loop) : loop_(loop) {}
    ~PendingQuery() override { cancel(); }

    void succeed(Rows rows);
    void fail(std::exception_ptr error);

    bool ready() const override { return done_; }
    void wait(std::coroutine_handle<> awaiter) override { awaiter_ = awaiter; }
    void forget() override;
    Rows take() override;

  private:
    void fire() override { std::exchange(awaiter_, {}).resume(); }
    void complete();

    Loop& loop_;
    bool done_ = false;
    Rows rows_;
    std::exception_ptr error_;
    std::coroutine_handle<> awaiter_;
};

struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

Rows rows_of(Result result);
/// StatementFailed, or DatabaseUnavailable when it was no fault of the statement.
std::exception_ptr error_of(const PGresult* result);

}  // namespace matrix_sync
