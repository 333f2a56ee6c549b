#include "nginx/loop.hpp"

namespace matrix_sync {

NginxLoop::NginxLoop() {
    identity_.fd = -1;
    identity_.data = this;
    event_.data = &identity_;
    event_.log = ngx_cycle->log;
    event_.cancelable = 1;  // nothing here holds up a worker that is to stop
    event_.handler = [](ngx_event_t* event) {
        auto* loop = static_cast<NginxLoop*>(static_cast<ngx_connection_t*>(event->data)->data);
        guard(event->log, [&] { loop->run(); });
    };
}

NginxLoop::~NginxLoop() {
    take_back();
}

void NginxLoop::take_back() {
    if (event_.posted) {
        ngx_delete_posted_event(&event_);
    }
    if (event_.timer_set) ngx_del_timer(&event_);
}

void NginxLoop::run_after(Milliseconds delay) {
    take_back();  // ngx_add_timer leaves a timer alone that is nearly right
    if (delay <= Milliseconds{0}) {
        ngx_post_event(&event_, &ngx_posted_next_events);
        return;
    }
    ngx_add_timer(&event_, static_cast<ngx_msec_t>(delay.count()));
}

}  // namespace matrix_sync
