// One piece of work that several wait for: it belongs to what it is about, not to whoever asked first, and goes on when those who wait give
// up.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "matrix_sync/error.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

template <class T>
class SharedWork {
  public:
    explicit SharedWork(Loop& loop) : done_(loop) {}

    void start(Task<T> task) {
        job_.start(run(std::move(task)), [this](std::exception_ptr error) {
            error_ = error;
            ended_ = true;
            done_.notify();
        });
    }
    bool ended() const { return ended_; }
    /// Those who wait get DatabaseUnavailable.
    void give_up() {
        if (ended_) return;
        job_.cancel();
        error_ = std::make_exception_ptr(DatabaseUnavailable("given up"));
        ended_ = true;
        done_.notify();
    }

    /// The result, or what the work threw. Whoever awaits keeps the work alive.
    static Task<T> result(std::shared_ptr<SharedWork> work) {
        while (!work->ended_) co_await work->done_.wait();
        if (work->error_) std::rethrow_exception(work->error_);
        co_return *work->value_;
    }

    /// The result if it comes within the limit; else the work is given up with HomeserverUnavailable.
    Task<T> result_within(Milliseconds limit) {
        if (!ended_) co_await done_.wait(limit);
        if (!ended_) throw HomeserverUnavailable("no answer within " + std::to_string(limit.count()) + " ms");
        if (error_) std::rethrow_exception(error_);
        co_return std::move(*value_);
    }

  private:
    Task<void> run(Task<T> task) { value_ = co_await std::move(task); }

    Signal done_;
    std::optional<T> value_;
    std::exception_ptr error_;
    bool ended_ = false;
    Job job_;
};

/// Waits for work of which there may be none; throws what it threw.
inline Task<void> finished(std::shared_ptr<SharedWork<bool>> work) {
    if (work) co_await SharedWork<bool>::result(std::move(work));
}

/// What the homeserver gives, if it gives it in time. Throws HomeserverUnavailable.
template <class T>
Task<T> within(Loop& loop, Milliseconds limit, Task<T> task) {
    SharedWork<T> work(loop);
    work.start(std::move(task));
    co_return co_await work.result_within(limit);
}

}  // namespace matrix_sync
