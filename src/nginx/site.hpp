// What a worker runs for one database: the database itself, what is kept in it, and sync v3 on top.
#pragma once

#include <string>

#include "matrix_sync/service.hpp"
#include "nginx/database.hpp"
#include "nginx/directives.hpp"
#include "storage/logs.hpp"
#include "storage/pruning.hpp"
#include "storage/rooms.hpp"
#include "storage/sessions.hpp"
#include "storage/tokens.hpp"
#include "storage/workers.hpp"

namespace matrix_sync {

class Site {
  public:
    /// `workers`: how many this host has.
    Site(Loop& loop, const DatabaseConf& conf, unsigned connections, std::size_t cache_bytes, unsigned workers);
    Site(const Site&) = delete;
    Site& operator=(const Site&) = delete;
    ~Site() { database_.close(); }

    Service& service() { return service_; }
    NginxDatabase& database() { return database_; }
    const std::string& label() const { return label_; }

  private:
    std::string label_;
    NginxDatabase database_;
    PostgresLogs logs_;
    PostgresSessions sessions_;
    PostgresTokens tokens_;
    PostgresWorkers workers_;
    PostgresRooms rooms_;
    PostgresPruning pruning_;
    Service service_;
};

}  // namespace matrix_sync
