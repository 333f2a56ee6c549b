#include "nginx/site.hpp"

#include <algorithm>

namespace matrix_sync {

namespace {

ngx_uint_t nginx_level(LogLevel level) {
    switch (level) {
        case LogLevel::error:
            return NGX_LOG_ERR;
        case LogLevel::warn:
            return NGX_LOG_WARN;
        case LogLevel::notice:
            return NGX_LOG_NOTICE;
        case LogLevel::info:
            break;
    }
    return NGX_LOG_INFO;
}

NginxDatabase::Log log_of(const std::string& label) {
    return [label](LogLevel level, const std::string& text) { log_line(nginx_level(level), ngx_cycle->log, text + " (" + label + ")"); };
}

/// First polls in flight at once, of all workers of a host for one database.
constexpr int first_polls_of_host = 8;

/// For operators: which process on which host.
std::string worker_name() {
    auto* host = reinterpret_cast<const char*>(ngx_cycle->hostname.data);
    return std::string(host, ngx_cycle->hostname.len) + " " + std::to_string(ngx_pid);
}

}  // namespace

Site::Site(Loop& loop, const DatabaseConf& conf, unsigned connections, std::size_t cache_bytes, unsigned workers)
    : label_(view(conf.label)),
      database_(loop, std::string(view(conf.conninfo)), connections, log_of(label_)),
      logs_(database_, loop, [log = log_of(label_)](const std::string& text) { log(LogLevel::warn, text); }),
      sessions_(database_),
      tokens_(database_),
      workers_(database_, loop, worker_name(), log_of(label_)),
      rooms_(database_),
      pruning_(database_, loop),
      service_({.loop = loop,
                .logs = logs_,
                .sessions = sessions_,
                .tokens = tokens_,
                .workers = workers_,
                .rooms = rooms_,
                .pruning = pruning_,
                .cache_bytes = cache_bytes,
                .first_polls = std::max(1, first_polls_of_host / static_cast<int>(workers)),
                .log = log_of(label_)}) {
    database_.open();
}

}  // namespace matrix_sync
