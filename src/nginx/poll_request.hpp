// A request of our own: what nginx needs to believe that there is a client behind it.
#pragma once

#include "matrix_sync/homeserver.hpp"
#include "nginx/directives.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

/// Who hears what becomes of a poll request. Nothing here may destroy the request, or itself.
class PollEvents {
  public:
    virtual ~PollEvents() = default;
    virtual void head(int status, bool from_homeserver) = 0;
    /// What is not taken (pos is left before last) is kept; nothing more is fetched before all of it has been.
    virtual void body(ngx_buf_t* buffer) = 0;
    virtual void whole() = 0;
    /// The request is gone.
    virtual void ended() = 0;
};

/// The request, or nullptr when nginx has no connection or memory for it. It does nothing before start_poll_request().
ngx_http_request_t* make_poll_request(const PollLocation& poll, const Call& call, PollEvents& events);
/// May end the request before it returns.
void start_poll_request(ngx_http_request_t* r, const PollLocation& poll);
/// Goes on after all that was kept has been taken. May end the request before it returns.
void resume_poll_request(ngx_http_request_t* r);
/// Ends it; nobody hears of it any more.
void abort_poll_request(ngx_http_request_t* r);

/// Takes what nginx would send to a client for these requests. Called once, while the configuration is read.
void add_poll_filters();

}  // namespace matrix_sync
