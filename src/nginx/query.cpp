#include "nginx/query.hpp"

#include <cstdlib>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

class ResultRows final : public Rows::Source {
  public:
    explicit ResultRows(Result result) : result_(std::move(result)) {}

    std::size_t rows() const override { return static_cast<std::size_t>(PQntuples(result_.get())); }
    std::size_t columns() const override { return static_cast<std::size_t>(PQnfields(result_.get())); }
    std::optional<std::string_view> cell(std::size_t row, std::size_t column) const override {
        int r = static_cast<int>(row);
        int c = static_cast<int>(column);
        if (PQgetisnull(result_.get(), r, c)) return std::nullopt;
        return std::string_view(PQgetvalue(result_.get(), r, c), static_cast<std::size_t>(PQgetlength(result_.get(), r, c)));
    }
    std::int64_t affected() const override { return std::atoll(PQcmdTuples(result_.get())); }

  private:
    Result result_;
};

std::string field(const PGresult* result, int code) {
    const char* text = PQresultErrorField(result, code);
    return text ? text : "";
}

/// Shutting down, starting up, too many connections, lost: PostgreSQL, appendix A.
bool no_fault_of_the_statement(std::string_view sqlstate) {
    return sqlstate.empty() || sqlstate.starts_with("08") || sqlstate.starts_with("57P") || sqlstate == "53300";
}

}  // namespace

void PendingQuery::succeed(Rows rows) {
    rows_ = std::move(rows);
    complete();
}

void PendingQuery::fail(std::exception_ptr error) {
    error_ = std::move(error);
    complete();
}

void PendingQuery::complete() {
    done_ = true;
    if (awaiter_) loop_.post(*this);
}

void PendingQuery::forget() {
    awaiter_ = {};
    cancel();
}

Rows PendingQuery::take() {
    if (error_) std::rethrow_exception(error_);
    return std::move(rows_);
}

Rows rows_of(Result result) {
    return Rows(std::make_unique<ResultRows>(std::move(result)));
}

std::exception_ptr error_of(const PGresult* result) {
    std::string sqlstate = field(result, PG_DIAG_SQLSTATE);
    // Neither detail nor context: they quote values.
    std::string message = field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (no_fault_of_the_statement(sqlstate)) return std::make_exception_ptr(DatabaseUnavailable(message));
    return std::make_exception_ptr(StatementFailed(sqlstate, message));
}

}  // namespace matrix_sync
