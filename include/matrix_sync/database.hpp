// What the storage needs of PostgreSQL: prepared statements, alone or in a transaction, and notifications. Every parameter and every result
// is in PostgreSQL's binary format, so that nothing is ever quoted or parsed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// A statement with parameters $1, $2, …; prepared once on each connection. Statements live as long as the process; they are told apart by
/// address.
struct Statement {
    const char* name;
    const char* sql;
};

/// The values for a statement's parameters, in order, as PostgreSQL's binary format has them. The statement casts none of them but says
/// their types:
/// `$1::bigint`, `$2::text[]`.
class Params {
  public:
    Params& null();
    Params& boolean(bool value);
    Params& smallint(std::int16_t value);
    Params& integer(std::int32_t value);
    Params& bigint(std::int64_t value);
    Params& real(double value);  ///< double precision
    /// Valid UTF-8 without U+0000.
    Params& text(std::string_view value);
    Params& text(const std::string& value) { return text(std::string_view(value)); }
    Params& text(const char* value) { return text(std::string_view(value)); }
    Params& text(const std::optional<std::string>& value);
    Params& bytes(std::string_view value);
    Params& bytes(const std::string& value) { return bytes(std::string_view(value)); }
    Params& bytes(const std::optional<std::string>& value);
    Params& uuid(std::string_view canonical);
    /// Arrays have one dimension; a nullopt element is NULL.
    Params& booleans(const std::vector<bool>& values);
    Params& smallints(std::span<const std::int16_t> values);
    Params& integers(std::span<const std::int32_t> values);
    Params& bigints(std::span<const std::int64_t> values);
    Params& texts(std::span<const std::string> values);
    Params& texts(std::span<const std::optional<std::string>> values);
    Params& bytess(std::span<const std::string> values);
    Params& bytess(std::span<const std::optional<std::string>> values);

    struct Value {
        std::string data;
        bool is_null = false;
    };
    const std::vector<Value>& values() const { return values_; }

  private:
    std::vector<Value> values_;
};

/// The rows a statement gave. Cheap to move; views into it live as long as it does.
class Rows {
  public:
    /// What the driver gives: cell(row, column) is the binary value, or nullopt for NULL.
    class Source {
      public:
        virtual ~Source() = default;
        virtual std::size_t rows() const = 0;
        virtual std::size_t columns() const = 0;
        virtual std::optional<std::string_view> cell(std::size_t row, std::size_t column) const = 0;
        /// Rows that the statement changed, as the command tag counts them.
        virtual std::int64_t affected() const = 0;
    };

    Rows() = default;
    explicit Rows(std::unique_ptr<Source> source) : source_(std::move(source)) {}

    std::size_t size() const { return source_ ? source_->rows() : 0; }
    bool empty() const { return size() == 0; }
    std::int64_t affected() const { return source_ ? source_->affected() : 0; }

    bool is_null(std::size_t row, std::size_t column) const { return !source_->cell(row, column); }
    /// The getters throw std::logic_error when the cell is NULL or not as wide as the type. text() also reads bytea.
    bool boolean(std::size_t row, std::size_t column) const;
    std::int16_t smallint(std::size_t row, std::size_t column) const;
    std::int32_t integer(std::size_t row, std::size_t column) const;
    std::int64_t bigint(std::size_t row, std::size_t column) const;
    std::string_view text(std::size_t row, std::size_t column) const;
    std::optional<std::string> maybe_text(std::size_t row, std::size_t column) const;
    std::string uuid(std::size_t row, std::size_t column) const;
    std::vector<std::int64_t> bigints(std::size_t row, std::size_t column) const;
    std::vector<std::optional<std::string>> texts(std::size_t row, std::size_t column) const;

  private:
    std::string_view cell(std::size_t row, std::size_t column) const;

    std::unique_ptr<Source> source_;
};

/// A statement on its way. Awaiting gives its rows, throws StatementFailed or DatabaseUnavailable. It is sent whether or not anybody awaits
/// it; one that is destroyed is still carried out, and nobody hears of it.
class Query {
  public:
    class State {
      public:
        virtual ~State() = default;
        virtual bool ready() const = 0;
        virtual void wait(std::coroutine_handle<> awaiter) = 0;
        /// The awaiter is destroyed or does not wait any more.
        virtual void forget() = 0;
        virtual Rows take() = 0;
    };

    explicit Query(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Query(Query&&) = default;
    Query& operator=(Query&&) = delete;
    ~Query() {
        if (state_) state_->forget();
    }

    bool await_ready() const { return state_->ready(); }
    void await_suspend(std::coroutine_handle<> awaiter) { state_->wait(awaiter); }
    Rows await_resume() { return state_->take(); }

  private:
    std::shared_ptr<State> state_;
};

/// One transaction on a connection of its own: READ COMMITTED. Statements are pipelined: sent as they come, answered in order; after one
/// has failed, those behind it fail too. A transaction destroyed without commit() is rolled back.
class Transaction {
  public:
    virtual ~Transaction() = default;
    virtual Query run(const Statement& statement, Params params) = 0;
    /// Gives the connection back. Durable: on disk when this returns; else PostgreSQL may lose it in a crash, in the order of commits.
    virtual Task<void> commit(bool durable) = 0;
};

class Database {
  public:
    virtual ~Database() = default;

    /// One statement in a transaction of its own, in order with the others of this kind. Not for statements that take locks for long.
    virtual Query run(const Statement& statement, Params params) = 0;
    /// Waits for a free connection.
    virtual Task<std::unique_ptr<Transaction>> begin() = 0;

    /// Where notifications go; set before the first connection. connected() is called on every new connection of the one that listens,
    /// before any run() on it, and says on which channels to LISTEN. What was notified while nobody listened is lost.
    struct Listener {
        virtual ~Listener() = default;
        virtual void connected() = 0;
        virtual void disconnected() = 0;
        virtual void notified(std::string_view channel, std::string_view payload) = 0;
    };
    virtual void listen(Listener* listener) = 0;
};

}  // namespace matrix_sync
