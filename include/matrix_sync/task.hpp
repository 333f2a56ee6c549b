// Coroutines that read top to bottom: a Task is work that somebody awaits, a Job is work that runs on its own.
//
// A Task is lazy and owns its frame; whoever awaits it owns it. Destroying a Task or a Job destroys everything it awaits, and destructors
// take back what was asked for: that is the whole of cancellation. Everything runs on one thread.
//
// Awaiting a Task runs it at once. One that completes without waiting for anything never suspends its awaiter, so that a loop over such
// awaits uses no stack: symmetric transfer would promise the same, but GCC 12 does not make it a tail call without optimisation or under a
// sanitizer.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define MATRIX_SYNC_NEW_FRAMES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MATRIX_SYNC_NEW_FRAMES
#endif
#endif

namespace matrix_sync {

namespace detail {

/// Frames come and go by the dozen for each request, and most are too large for malloc's quick ways: some of each size are kept for those
/// that come next. Not where a sanitizer is to see what becomes of them.
struct Frame {
#if !defined(MATRIX_SYNC_NEW_FRAMES)
    static void* operator new(std::size_t bytes) {
        Kept* kept = kept_of(bytes);
        if (!kept || !kept->first) return ::operator new(kept ? rounded(bytes) : bytes);
        --kept->count;
        return std::exchange(kept->first, kept->first->next);
    }
    static void operator delete(void* frame, std::size_t bytes) {
        Kept* kept = kept_of(bytes);
        if (!kept || kept->count == most_kept) return ::operator delete(frame);
        ++kept->count;
        kept->first = ::new (frame) Free{kept->first};
    }

  private:
    static constexpr std::size_t step = 128, sizes = 32;
    static constexpr int most_kept = 32;

    struct Free {
        Free* next;
    };
    struct Kept {
        Free* first;
        int count;
    };
    inline static thread_local std::array<Kept, sizes> all_kept{};

    static constexpr std::size_t rounded(std::size_t bytes) {
        return (bytes + step - 1) / step * step;
    }
    static Kept* kept_of(std::size_t bytes) {
        return bytes <= step * sizes ? &all_kept[(bytes - 1) / step] : nullptr;
    }
#endif
};

struct PromiseBase : Frame {
    std::coroutine_handle<> awaiter;
    std::exception_ptr error;

    struct Final {
        bool await_ready() noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            // The frame may be gone when resume() comes back.
            if (auto awaiter = frame.promise().awaiter) awaiter.resume();
        }
        void await_resume() noexcept {}
    };

    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { error = std::current_exception(); }
    void rethrow() const {
        if (error) std::rethrow_exception(error);
    }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;

    auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() {
        rethrow();
        return std::move(*value);
    }
};

template <>
struct Promise<void> : PromiseBase {
    auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
    void return_void() noexcept {}
    void take() const { rethrow(); }
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
  public:
    using promise_type = detail::Promise<T>;
    using Frame = std::coroutine_handle<promise_type>;

    Task(Frame frame) : frame_(frame) {}
    Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    Task& operator=(Task&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~Task() {
        if (frame_) frame_.destroy();
    }

    bool await_ready() {
        frame_.resume();
        return frame_.done();
    }
    void await_suspend(std::coroutine_handle<> awaiter) noexcept { frame_.promise().awaiter = awaiter; }
    T await_resume() { return frame_.promise().take(); }

  private:
    Frame frame_;
};

/// What a task gives that waits for nothing.
template <class T>
T at_once(Task<T> task) {
    if (!task.await_ready()) std::terminate();
    return task.await_resume();
}

/// A Task that runs on its own until it ends or the Job is destroyed. Not movable: what it runs may point to its owner.
class Job {
  public:
    /// Called once when the task has ended, with what it threw, if it did. It may destroy the Job.
    using Ended = std::function<void(std::exception_ptr)>;

    Job() = default;
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    ~Job() { cancel(); }

    /// Runs the task until it waits for the first time. The Job must not be running.
    void start(Task<void> task, Ended ended = {}) {
        cancel();
        frame_ = run(std::move(task), *this, std::move(ended)).frame;
        frame_.resume();
    }
    bool running() const { return static_cast<bool>(frame_); }
    void cancel() {
        if (auto frame = std::exchange(frame_, {})) frame.destroy();
    }

  private:
    struct Root {
        struct promise_type : detail::Frame {
            Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
            std::suspend_always initial_suspend() noexcept { return {}; }
            std::suspend_always final_suspend() noexcept { return {}; }
            void return_void() noexcept {}
            void unhandled_exception() noexcept { std::terminate(); }
        };
        std::coroutine_handle<promise_type> frame;
    };

    /// Hands the end over from outside the frame, which is suspended and may therefore be destroyed. Holds references only: GCC 12 destroys
    /// the members of an awaited aggregate twice.
    struct HandOver {
        Job& job;
        Ended& ended;
        std::exception_ptr& error;

        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) {
            Ended call = std::move(ended);
            std::exception_ptr what = std::move(error);
            job.frame_ = {};
            frame.destroy();
            if (call) call(std::move(what));
        }
        void await_resume() noexcept {}
    };

    static Root run(Task<void> task, Job& job, Ended ended) {
        std::exception_ptr error;
        try {
            co_await std::move(task);
        } catch (...) {
            error = std::current_exception();
        }
        co_await HandOver{job, ended, error};
    }

    std::coroutine_handle<> frame_;
};

}  // namespace matrix_sync
