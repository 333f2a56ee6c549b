// The figures of all workers of this host: each writes its own into memory that they share, so that whichever is asked can show them all.
//
// Each word is written and read for itself, without a lock: a worker that is frozen or killed holds up nobody, and figures that stand side
// by side may be a moment apart. A reload begins with new memory: the workers that it ends are not shown any more.
#pragma once

#include <optional>
#include <vector>

#include "matrix_sync/status.hpp"
#include "nginx/directives.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

/// Of one connection string; see NginxDatabase.
struct DatabaseStatus {
    std::uint64_t connected = 0;    ///< 1: the connection that listens is there
    std::uint64_t connections = 0;  ///< open now
    std::uint64_t waiting = 0;      ///< now, for a connection
    std::uint64_t queries = 0;
    std::uint64_t transactions = 0;
    std::uint64_t errors = 0;  ///< statements that PostgreSQL refused
    std::uint64_t lost = 0;    ///< times that the first connection was lost
};

struct SiteFigures {
    Status service;
    DatabaseStatus database;
};

struct WorkerFigures {
    std::uint64_t written_ms = 0;  ///< when, by the host's clock that never goes back; 0: never
    std::uint64_t pid = 0;
    std::uint64_t connections = 0;  ///< slots and descriptors that the worker may use
    std::uint64_t connections_used = 0;
    std::uint64_t connections_free = 0;
};

struct Figures {
    WorkerFigures worker;
    std::vector<SiteFigures> sites;  ///< one for each database, as different_databases() has them
};

/// The databases of a configuration, each once, in order.
std::vector<const DatabaseConf*> different_databases(const MainConf& main);

/// To be called when the configuration has been read.
ngx_int_t add_figures_zone(ngx_conf_t* cf, MainConf& main);

ngx_uint_t workers_with_figures(const MainConf& main);
/// This worker's, from now on.
void write_figures(const MainConf& main, const Figures& figures);
/// This worker ends.
void clear_figures(const MainConf& main);
/// None: the worker with this number has not written any yet, or has ended.
std::optional<Figures> read_figures(const MainConf& main, ngx_uint_t worker);

}  // namespace matrix_sync
