#include "nginx/poll_log.hpp"

#include <utility>

namespace matrix_sync {

namespace {

constexpr ngx_msec_t one_minute = 60'000;
constexpr ngx_uint_t most_lines = 10;

}  // namespace

PollLog::PollLog(ngx_http_core_loc_conf_t& location) : location_(location), to_(location.error_log), log_(*location.error_log) {
    log_.next = nullptr;
    log_.writer = write;
    log_.wdata = this;
    location_.error_log = &log_;
}

/// As ngx_log_error_core() goes through the logs.
void PollLog::write(ngx_log_t* log, ngx_uint_t level, u_char* text, size_t length) {
    auto& self = *static_cast<PollLog*>(log->wdata);
    if (!self.lets_through(level)) return;
    for (ngx_log_t* to = self.to_; to && to->log_level >= level; to = to->next) {
        if (to->writer) {
            to->writer(to, level, text, length);
        } else {
            (void)ngx_write_fd(to->file->fd, text, length);
        }
    }
}

bool PollLog::lets_through(ngx_uint_t level) {
    if (level <= NGX_LOG_CRIT || level >= NGX_LOG_DEBUG) return true;
    if (lines_ == 0 || ngx_current_msec - minute_ >= one_minute) {
        minute_ = ngx_current_msec;
        lines_ = 0;
        ngx_uint_t left_out = std::exchange(left_out_, 0);
        if (left_out > 0) ngx_log_error(NGX_LOG_WARN, to_, 0, "matrix_sync: %ui more lines about polls were left out", left_out);
    }
    if (lines_ == most_lines) {
        ++left_out_;
        return false;
    }
    ++lines_;
    return true;
}

}  // namespace matrix_sync
