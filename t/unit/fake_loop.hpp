// A Loop whose clock stands still until a test moves it, and ways to run a task to its end with it or without.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

class FakeLoop : public Loop {
  public:
    Instant now() const override { return now_; }

    /// When the shell would call run(); none: nothing is pending.
    std::optional<Instant> due() const { return due_; }
    /// How often it has been asked to.
    int asked() const { return asked_; }

    /// One turn, without time passing.
    void turn() {
        due_.reset();
        run();
    }
    /// Turns until nothing is to be done at once.
    void settle() {
        do {
            turn();
        } while (due_ && *due_ <= now_);
    }
    /// Lets time pass, doing everything when its time has come.
    void advance(Milliseconds span) {
        Instant end = now_ + span;
        settle();
        while (due_ && *due_ <= end) {
            now_ = *due_;
            settle();
        }
        now_ = end;
        settle();
    }
    /// The clock alone, as when the process was frozen.
    void freeze(Milliseconds span) { now_ += span; }

  private:
    void run_after(Milliseconds delay) override {
        due_ = now_ + delay;
        ++asked_;
    }

    Instant now_{1'000'000};
    int asked_ = 0;
    std::optional<Instant> due_;
};

namespace detail {

template <class T>
Task<void> keep(Task<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
}

}  // namespace detail

/// Runs a task that must end before `turn` has been called `most` times; gives its result or throws what it threw.
inline void complete(Task<void> task, const std::function<void()>& turn = {}, int most = 1000) {
    std::exception_ptr error;
    Job job;
    job.start(std::move(task), [&error](std::exception_ptr thrown) { error = std::move(thrown); });
    for (; job.running() && turn && most > 0; --most) turn();
    if (job.running()) throw std::logic_error("the task still waits");
    if (error) std::rethrow_exception(error);
}

template <class T>
T complete(Task<T> task, const std::function<void()>& turn = {}, int most = 1000) {
    std::optional<T> result;
    complete(detail::keep(std::move(task), result), turn, most);
    return std::move(*result);
}

}  // namespace matrix_sync
