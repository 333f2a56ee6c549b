// One connection to PostgreSQL in nginx's event loop. It lives through many: open() makes one, closed() says that it ended.
//
// Events are level-triggered, as libpq reads and writes when it likes. libpq owns the descriptor and may replace it while it connects.
#pragma once

#include <libpq-fe.h>

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"
#include "nginx/callback.hpp"
#include "nginx/conninfo.hpp"
#include "nginx/ngx.hpp"
#include "nginx/query.hpp"

namespace matrix_sync {

inline const Statement roll_back{"roll_back", "ROLLBACK"};

class Connection {
  public:
    struct Owner {
        virtual ~Owner() = default;
        virtual void opened(Connection& connection) = 0;
        /// Everything under way has failed. Not called by close().
        virtual void closed(Connection& connection, const std::string& why) = 0;
        /// What sync(release) was called for is over.
        virtual void released(Connection& connection) = 0;
        virtual void notified(std::string_view channel, std::string_view payload) = 0;
    };
    Connection(Loop& loop, ConnectionParameters& parameters, Owner& owner);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    void open();
    void close();
    bool is_open() const { return state_ == State::open; }
    bool is_closed() const { return state_ == State::closed; }
    /// How many times it was opened: something that was begun on another one is lost.
    std::uint64_t generation() const { return generation_; }

    /// Statements that PostgreSQL has refused, since the process started.
    std::uint64_t refused() const { return refused_; }

    /// What cannot be sent fails. The query may be null.
    void send(const Statement& statement, const Params& params, std::shared_ptr<PendingQuery> query);
    /// Ends what belongs together: an error reaches no further. With `release`, rolls back what an error left open and tells the owner.
    void sync(bool release = false);

  private:
    enum class State { closed, connecting, checking, open };
    struct Sent {
        enum class Kind { prepare, statement, sync } kind;
        const Statement* statement;
        std::shared_ptr<PendingQuery> query;
        bool release = false;
        bool answered = false;
    };

    bool attach();
    void detach();
    void want_write(bool wanted);
    static void on_event(ngx_event_t* event);
    void go_on_connecting();
    Task<void> check();
    void read();
    void process();
    bool next_result();
    void answered(Sent& sent, Result result);
    void synced(bool release);
    bool send_prepare(const Statement& statement);
    void flush();
    void progressed();
    void late();
    void lost(std::string why);
    void disconnect(const std::string& why);

    Loop& loop_;
    ConnectionParameters& parameters_;
    Owner& owner_;
    State state_ = State::closed;
    std::uint64_t generation_ = 0;
    std::uint64_t refused_ = 0;
    PGconn* pg_ = nullptr;
    ngx_connection_t* socket_ = nullptr;
    std::deque<Sent> sent_;
    std::map<const Statement*, std::string> prepared_;
    unsigned statements_ = 0;     ///< for their names
    std::exception_ptr error_;    ///< the first one since the last sync
    bool wants_answers_ = false;  ///< something was sent that no sync follows yet
    std::string broken_;
    Job checking_;
    Callback flush_{[this] { flush(); }};
    Callback more_{[this] { process(); }};
    Callback broke_{[this] { lost(broken_); }};
    Callback deadline_{[this] { late(); }};
};

}  // namespace matrix_sync
