// Statements of one transaction that are sent without waiting for them.
#pragma once

#include <utility>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

class Sending {
  public:
    explicit Sending(Transaction& transaction) : transaction_(transaction) {}

    /// Nobody needs its rows.
    void send(const Statement& statement, Params params) { sent_.push_back(transaction_.run(statement, std::move(params))); }
    Query ask(const Statement& statement, Params params) { return transaction_.run(statement, std::move(params)); }

    /// Waits for all that was sent, in order: throws what went wrong first. Statements behind it only say that the transaction has failed.
    Task<void> settled() {
        std::vector<Query> sent = std::move(sent_);
        sent_.clear();
        for (Query& query : sent) co_await query;
    }

    /// Throws what went wrong first.
    Task<void> commit(bool durable) {
        std::exception_ptr error;
        try {
            co_await transaction_.commit(durable);
        } catch (const StatementFailed&) {
            error = std::current_exception();
        }
        if (!error) co_return;
        co_await settled();
        std::rethrow_exception(error);
    }

    Transaction& transaction() { return transaction_; }

  private:
    Transaction& transaction_;
    std::vector<Query> sent_;
};

}  // namespace matrix_sync
