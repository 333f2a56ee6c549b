#include "nginx/worker_process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace matrix_sync {

namespace {

constexpr ngx_msec_t longest_stop = 4000;
constexpr Milliseconds publish_every{1000};
constexpr ngx_uint_t connections_of_device = 3;  // a waiting client, the poll, and its connection to the homeserver

/// Of all locations that share a database, the largest value counts.
template <class Value>
Value largest(const MainConf& conf, const LocationConf& of, Value LocationConf::*value) {
    Value most = of.*value;
    auto** locations = static_cast<LocationConf**>(conf.locations.elts);
    for (ngx_uint_t i = 0; i < conf.locations.nelts; ++i) {
        if (view(locations[i]->database->conninfo) == view(of.database->conninfo)) most = std::max(most, locations[i]->*value);
    }
    return most;
}

}  // namespace

WorkerProcess* WorkerProcess::current() {
    auto* conf = static_cast<MainConf*>(ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_matrix_sync_module));
    return conf ? conf->worker : nullptr;
}

WorkerProcess::WorkerProcess(MainConf& conf, ngx_cycle_t& cycle) : conf_(conf), budget_(ConnectionBudget::of_this_worker()) {
    std::map<std::string_view, Site*> by_conninfo;
    auto** locations = static_cast<LocationConf**>(conf.locations.elts);
    for (ngx_uint_t i = 0; i < conf.locations.nelts; ++i) {
        const LocationConf& location = *locations[i];
        Site*& site = by_conninfo[view(location.database->conninfo)];
        if (!site) {
            const auto connections = static_cast<unsigned>(largest(conf, location, &LocationConf::database_connections));
            const std::size_t cache_bytes = largest(conf, location, &LocationConf::cache);
            const auto workers = static_cast<unsigned>(workers_with_figures(conf));
            site = sites_.emplace_back(std::make_unique<Site>(loop_, *location.database, connections, cache_bytes, workers)).get();
        }
        poll_logs_.try_emplace(location.poll->location, *location.poll->location);
        places_.emplace(&location, Place{*site, std::make_shared<NginxHomeserver>(loop_, budget_, *location.poll)});
    }
    watch(cycle);
    announce(cycle);
    publish();
}

WorkerProcess::~WorkerProcess() {
    clear_figures(conf_);
    stopping_.cancel();
    while (requests_.linked()) {
        auto& request = static_cast<OpenRequest&>(requests_.next());
        request.unlink();
        request.drop();
    }
    places_.clear();
    sites_.clear();
    if (guard_.timer_set) ngx_del_timer(&guard_);
    unwatch();
}

Figures WorkerProcess::figures() const {
    Figures figures;
    figures.worker.written_ms = ngx_current_msec;
    figures.worker.pid = static_cast<std::uint64_t>(ngx_pid);
    figures.worker.connections = budget_.total;
    figures.worker.connections_used = budget_.in_use();
    figures.worker.connections_free = ngx_cycle->free_connection_n;
    for (const auto& site : sites_) figures.sites.push_back({site->service().status(), site->database().status()});
    return figures;
}

void WorkerProcess::publish() {
    write_figures(conf_, figures());
    loop_.arm(publishing_, publish_every);
}

void WorkerProcess::announce(ngx_cycle_t& cycle) const {
    if (ngx_process == NGX_PROCESS_WORKER && ngx_worker != 0) return;
    ngx_log_error(NGX_LOG_NOTICE, cycle.log, 0,
                  "matrix_sync: worker_connections and the limit of open files leave each worker %ui connections: room for %ui devices",
                  budget_.total, budget_.total / connections_of_device);
}

void WorkerProcess::watch(ngx_cycle_t& cycle) {
    int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd == -1) throw std::runtime_error("no descriptor to spare");
    watcher_ = ngx_get_connection(fd, cycle.log);
    if (!watcher_) {
        ::close(fd);
        throw std::runtime_error("no connection to spare");
    }
    watcher_->idle = 1;
    watcher_->data = this;
    watcher_->read->log = watcher_->write->log = cycle.log;
    watcher_->read->handler = [](ngx_event_t* event) {
        auto* c = static_cast<ngx_connection_t*>(event->data);
        if (!c->close) return;
        guard(event->log, [&] { static_cast<WorkerProcess*>(c->data)->stop(); });
    };
}

void WorkerProcess::unwatch() {
    if (watcher_) ngx_close_connection(std::exchange(watcher_, nullptr));
}

void WorkerProcess::stop() {
    unwatch();
    identity_.fd = -1;
    identity_.data = this;
    guard_.data = &identity_;
    guard_.log = ngx_cycle->log;
    guard_.handler = [](ngx_event_t* event) {
        auto* self = static_cast<WorkerProcess*>(static_cast<ngx_connection_t*>(event->data)->data);
        guard(event->log, [&] {
            if (!self->handed_over_ || self->requests_.linked()) {
                log_line(NGX_LOG_WARN, event->log,
                         "stopping took longer than 4 s: what is left is given up, other workers take the devices in some seconds");
            }
            self->close_databases();
        });
    };
    ngx_add_timer(&guard_, longest_stop);
    stopping_.start(close_services());
}

/// The worker then ends as soon as nothing is being answered any more. Connections that were accepted before may still bring a request: it
/// is answered too, as long as the databases are there.
Task<void> WorkerProcess::close_services() {
    for (auto& site : sites_) co_await close_service(site->service());
    handed_over_ = true;
    for (;;) {
        if (!requests_.linked()) guard_.cancelable = 1;
        co_await loop_sleep(loop_, Milliseconds{20});
    }
}

Task<void> WorkerProcess::close_service(Service& service) {
    try {
        co_await service.close();
    } catch (const std::exception& error) {
        log_line(NGX_LOG_WARN, ngx_cycle->log,
                 std::string("devices could not be handed over, other workers take them in some seconds: ") + error.what());
    }
}

void WorkerProcess::close_databases() {
    databases_closed_ = true;
    stopping_.cancel();
    while (requests_.linked()) {
        auto& request = static_cast<OpenRequest&>(requests_.next());
        request.unlink();
        request.turn_away();
    }
    for (auto& site : sites_) site->database().close();
    if (guard_.timer_set) ngx_del_timer(&guard_);
}

Task<Reply> WorkerProcess::serve(const LocationConf& conf, Request request) {
    auto place = places_.find(&conf);
    if (place == places_.end() || databases_closed_) {
        co_return error_reply(503, "M_UNKNOWN", "This server is being restarted", Milliseconds{1000});
    }
    request.homeserver = place->second.homeserver;
    request.settings = conf.settings;
    Task<Reply> answer = place->second.site.service().serve(std::move(request));
    co_return co_await answer;
}

}  // namespace matrix_sync
