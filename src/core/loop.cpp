#include "matrix_sync/loop.hpp"

#include <algorithm>

namespace matrix_sync {

Deferred::~Deferred() {
    cancel();
}

void Deferred::cancel() {
    if (!loop_) return;
    unlink();
    if (timed_) loop_->timed_.erase(*timed_);
    timed_.reset();
    loop_ = nullptr;
}

Loop::~Loop() {
    while (ready_.linked()) static_cast<Deferred&>(ready_.next()).cancel();
    while (!timed_.empty()) timed_.begin()->second->cancel();
}

void Loop::post(Deferred& event) {
    event.cancel();
    event.loop_ = this;
    event.insert_before(ready_);
    schedule();
}

void Loop::arm(Deferred& event, Milliseconds after) {
    event.cancel();
    event.loop_ = this;
    event.timed_ = timed_.emplace(now() + std::max(after, Milliseconds{0}), &event);
    schedule();
}

void Loop::run() {
    running_ = true;
    asked_ = Instant::max();
    Link due;
    while (ready_.linked()) ready_.next().insert_before(due);
    for (auto limit = timed_.upper_bound(now()); timed_.begin() != limit;) {
        Deferred& event = *timed_.begin()->second;
        timed_.erase(timed_.begin());
        event.timed_.reset();
        event.insert_before(due);
    }
    try {
        while (due.linked()) {
            Deferred& event = static_cast<Deferred&>(due.next());
            event.cancel();
            event.fire();
        }
    } catch (...) {
        // The others have not deserved it: they come next time.
        while (due.linked()) due.next().insert_before(ready_);
        running_ = false;
        schedule();
        throw;
    }
    running_ = false;
    schedule();
}

void Loop::schedule() {
    if (running_ || (!ready_.linked() && timed_.empty())) return;
    const Instant when = ready_.linked() ? Instant::min() : timed_.begin()->first;
    if (when >= asked_) return;  // it comes early enough
    asked_ = when;
    run_after(ready_.linked() ? Milliseconds{0} : std::max(when - now(), Instant{1}));
}

void Pause::await_suspend(std::coroutine_handle<> awaiter) {
    awaiter_ = awaiter;
    if (delay_) {
        loop_of_.arm(*this, *delay_);
    } else {
        loop_of_.post(*this);
    }
}

void Signal::Wait::await_suspend(std::coroutine_handle<> awaiter) {
    awaiter_ = awaiter;
    member_.insert_before(signal_.waits_);
    if (limit_) signal_.loop_.arm(*this, *limit_);
}

void Signal::notify() {
    while (waits_.linked()) {
        Wait& wait = static_cast<Wait::Member&>(waits_.next()).of;
        wait.member_.unlink();
        wait.notified_ = true;
        loop_.post(wait);
    }
}

}  // namespace matrix_sync
