// What nginx's upstream writes about polls: a line of its own for each that fails. When the homeserver goes away that is thousands at once,
// so only some get through in a minute. What befalls each device is said by its poller.
#pragma once

#include "nginx/ngx.hpp"

namespace matrix_sync {

/// Stands between a poll location and its error log for as long as it lives.
class PollLog {
  public:
    explicit PollLog(ngx_http_core_loc_conf_t& location);
    PollLog(const PollLog&) = delete;
    PollLog& operator=(const PollLog&) = delete;
    ~PollLog() { location_.error_log = to_; }

  private:
    static void write(ngx_log_t* log, ngx_uint_t level, u_char* text, size_t length);
    bool lets_through(ngx_uint_t level);

    ngx_http_core_loc_conf_t& location_;
    ngx_log_t* to_;
    ngx_log_t log_;
    ngx_msec_t minute_ = 0;  ///< when it began
    ngx_uint_t lines_ = 0;   ///< in this minute
    ngx_uint_t left_out_ = 0;
};

}  // namespace matrix_sync
