// Everything of ours in one worker process, from its start to its end.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "matrix_sync/task.hpp"
#include "nginx/callback.hpp"
#include "nginx/directives.hpp"
#include "nginx/figures.hpp"
#include "nginx/homeserver.hpp"
#include "nginx/loop.hpp"
#include "nginx/poll_log.hpp"
#include "nginx/site.hpp"

namespace matrix_sync {

/// A client that waits for its reply, as the worker's end sees it.
class OpenRequest : public Link {
  public:
    /// Answers at once that the server is going away.
    virtual void turn_away() = 0;
    /// The process ends now: stop working, answer nothing.
    virtual void drop() = 0;

  protected:
    ~OpenRequest() = default;
};

class WorkerProcess {
  public:
    /// Throws std::runtime_error when nginx has no connection to spare.
    WorkerProcess(MainConf& conf, ngx_cycle_t& cycle);
    WorkerProcess(const WorkerProcess&) = delete;
    WorkerProcess& operator=(const WorkerProcess&) = delete;
    ~WorkerProcess();

    Task<Reply> serve(const LocationConf& conf, Request request);
    void add(OpenRequest& request) {
        request.insert_before(requests_);
        guard_.cancelable = 0;
    }
    bool has_room_to_wait() const { return budget_.has_room_to_wait(); }
    const std::vector<std::unique_ptr<Site>>& sites() const { return sites_; }
    /// Puts this worker's figures where all of them are.
    void publish();

    /// Of this process; nullptr in one that serves nobody.
    static WorkerProcess* current();

  private:
    struct Place {
        Site& site;
        std::shared_ptr<NginxHomeserver> homeserver;
    };
    Figures figures() const;
    void announce(ngx_cycle_t& cycle) const;
    void watch(ngx_cycle_t& cycle);
    void unwatch();
    void stop();
    Task<void> close_services();
    Task<void> close_service(Service& service);
    void close_databases();

    const MainConf& conf_;
    NginxLoop loop_;
    ConnectionBudget budget_;
    std::map<ngx_http_core_loc_conf_t*, PollLog> poll_logs_;
    std::vector<std::unique_ptr<Site>> sites_;
    std::map<const LocationConf*, Place> places_;
    Link requests_;
    ngx_connection_t* watcher_ = nullptr;  ///< nginx closes idle connections when the worker is to stop: that is how one learns of it
    ngx_connection_t identity_{};
    ngx_event_t guard_{};  ///< holds the worker while it stops, and ends what takes too long
    Job stopping_;
    bool handed_over_ = false;
    bool databases_closed_ = false;
    Callback publishing_{[this] { publish(); }};
};

}  // namespace matrix_sync
