// Work that goes on by itself. SharedWork is one piece that several wait for: it belongs to what it is about, not to whoever asked first,
// and goes on when those who wait give up. WorkInFlight are pieces that whoever made them does not wait for at once.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

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

/// A few pieces of work at a time. Those that have not ended go with it.
class WorkInFlight {
  public:
    WorkInFlight(Loop& loop, std::size_t most) : loop_(loop), most_(most) {}

    /// Starts one more as soon as fewer than `most` are left. Throws what an earlier one threw; the new one is then not begun.
    Task<void> add(Task<void> work) {
        while (pieces_.size() >= most_) co_await oldest();
        pieces_.push_back(std::make_shared<SharedWork<bool>>(loop_));
        pieces_.back()->start(carried_out(std::move(work)));
    }
    /// Waits for all; throws what the first one threw that failed, with the others still in flight.
    Task<void> ended() {
        while (!pieces_.empty()) co_await oldest();
    }

  private:
    static Task<bool> carried_out(Task<void> work) {
        co_await std::move(work);
        co_return true;
    }
    Task<void> oldest() {
        auto piece = std::move(pieces_.front());
        pieces_.erase(pieces_.begin());
        co_await SharedWork<bool>::result(std::move(piece));
    }

    Loop& loop_;
    std::size_t most_;
    std::vector<std::shared_ptr<SharedWork<bool>>> pieces_;
};

/// What the homeserver gives, if it gives it in time. Throws HomeserverUnavailable.
template <class T>
Task<T> within(Loop& loop, Milliseconds limit, Task<T> task) {
    SharedWork<T> work(loop);
    work.start(std::move(task));
    co_return co_await work.result_within(limit);
}

}  // namespace matrix_sync
