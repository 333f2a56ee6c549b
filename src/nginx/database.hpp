// The database that the storage asks, over a few connections of this worker: the first one listens and carries single statements, each of
// the others one transaction at a time. They are made when they are first wanted.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/service.hpp"
#include "nginx/connection.hpp"
#include "nginx/conninfo.hpp"
#include "nginx/figures.hpp"

namespace matrix_sync {

class NginxDatabase final : public Database, private Connection::Owner {
  public:
    using Log = std::function<void(LogLevel, const std::string&)>;
    NginxDatabase(Loop& loop, const std::string& conninfo, unsigned connections, Log log);
    ~NginxDatabase() override;

    /// After listen().
    void open();
    /// For good: what is under way fails.
    void close();

    Query run(const Statement& statement, Params params) override;
    Task<std::unique_ptr<Transaction>> begin() override;
    void listen(Listener* listener) override { listener_ = listener; }

    DatabaseStatus status() const;

  private:
    struct Line;
    class Turn;
    class OneTransaction;

    void opened(Connection& connection) override;
    void closed(Connection& connection, const std::string& why) override;
    void released(Connection& connection) override;
    void notified(std::string_view channel, std::string_view payload) override;

    void first_closed(const std::string& why);
    Line& line_of(Connection& connection);
    Line& first() { return *lines_.front(); }
    bool starting() const { return starting_.pending(); }
    Line* take_free();
    void open_another();
    void give(Line& line);
    void fail_turns(const std::string& why);
    std::shared_ptr<PendingQuery> send(Line& line, const Statement& statement, const Params& params);

    struct Early {
        const Statement* statement;
        Params params;
        std::shared_ptr<PendingQuery> query;
    };

    Loop& loop_;
    ConnectionParameters parameters_;
    Log log_;
    Listener* listener_ = nullptr;
    bool closed_ = false;
    bool up_ = false;  ///< the listener has been told that it is connected
    std::vector<std::unique_ptr<Line>> lines_;
    Link turns_;
    std::deque<Early> early_;
    Callback starting_;  ///< pending: the first connection is being made, and those who ask wait for it
    DatabaseStatus counted_;
};

}  // namespace matrix_sync
