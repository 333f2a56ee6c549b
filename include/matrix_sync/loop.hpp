// What the core needs of an event loop: a clock, things to do soon, things to do at a time, and a way to wait for a change.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <map>
#include <optional>

namespace matrix_sync {

using Milliseconds = std::chrono::milliseconds;
/// Milliseconds of a clock that never goes back; its origin says nothing.
using Instant = std::chrono::duration<std::int64_t, std::milli>;

/// Member of an intrusive list; leaves it when destroyed. Lists own nothing.
class Link {
  public:
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { unlink(); }

    bool linked() const { return next_ != this; }
    void unlink() {
        prev_->next_ = next_;
        next_->prev_ = prev_;
        prev_ = next_ = this;
    }
    /// Puts this before `other`, which is at the end when `other` is a list's head.
    void insert_before(Link& other) {
        unlink();
        prev_ = other.prev_;
        next_ = &other;
        prev_->next_ = this;
        other.prev_ = this;
    }
    Link& next() const { return *next_; }

  private:
    Link* prev_ = this;
    Link* next_ = this;
};

/// Something the loop calls from outside every other call: soon, or at a time. Destroying or cancelling it takes it back.
class Deferred : private Link {
  public:
    virtual ~Deferred();
    bool pending() const { return loop_ != nullptr; }
    void cancel();

  protected:
    virtual void fire() = 0;

  private:
    friend class Loop;
    class Loop* loop_ = nullptr;
    std::optional<std::multimap<Instant, Deferred*>::iterator> timed_;
};

/// Owned by the shell, one a process. The shell calls run() when it said it would be time.
class Loop {
  public:
    Loop() = default;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    /// What is still pending is taken back.
    virtual ~Loop();

    virtual Instant now() const = 0;

    /// Calls event.fire() from the next run(). An event is pending once: posting or arming it again replaces what was asked before.
    void post(Deferred& event);
    void arm(Deferred& event, Milliseconds after);

    /// Fires what is due; what is posted meanwhile waits for the next call, so that other work of the process gets its turn.
    void run();

  protected:
    /// The shell shall call run() after this long, zero meaning as soon as other events have had their turn. Each call replaces the one
    /// before.
    virtual void run_after(Milliseconds delay) = 0;

  private:
    friend class Deferred;
    void schedule();

    Link ready_;
    std::multimap<Instant, Deferred*> timed_;
    bool running_ = false;
    Instant asked_ = Instant::max();  ///< the shell comes then, or earlier
};

/// `co_await loop_pause(loop)`: lets other events have their turn, so that long work takes no more than a slice at a time.
/// `co_await loop_sleep(loop, delay)`: comes back after the delay.
class Pause : private Deferred {
  public:
    Pause(Loop& loop, std::optional<Milliseconds> delay) : loop_of_(loop), delay_(delay) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiter);
    void await_resume() const noexcept {}

  private:
    void fire() override { awaiter_.resume(); }

    Loop& loop_of_;
    std::optional<Milliseconds> delay_;
    std::coroutine_handle<> awaiter_;
};
inline Pause loop_pause(Loop& loop) {
    return {loop, std::nullopt};
}
inline Pause loop_sleep(Loop& loop, Milliseconds delay) {
    return {loop, delay};
}

/// Long work on many bytes in slices of about a millisecond: `if (slices.over(bytes)) co_await slices.pause()`.
class Slices {
  public:
    explicit Slices(Loop& loop) : loop_(&loop) {}
    /// Everything at once.
    Slices() = default;

    /// So many more have been dealt with: is it time for a pause?
    bool over(std::size_t bytes) {
        bytes_ += bytes;
        if (!loop_ || bytes_ < kBytes) return false;
        bytes_ = 0;
        return true;
    }
    Pause pause() { return loop_pause(*loop_); }

  private:
    static constexpr std::size_t kBytes = 64 * 1024;

    Loop* loop_ = nullptr;
    std::size_t bytes_ = 0;
};

/// A change that several may wait for. notify() ends every wait under way, from the loop and not from within the call.
class Signal {
  public:
    explicit Signal(Loop& loop) : loop_(loop) {}
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;

    class Wait : private Deferred {
      public:
        Wait(Signal& signal, std::optional<Milliseconds> limit) : signal_(signal), limit_(limit) {}

        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> awaiter);
        /// False when the time was up first.
        bool await_resume() const noexcept { return notified_; }

      private:
        friend class Signal;
        struct Member : ::matrix_sync::Link {
            explicit Member(Wait& wait) : of(wait) {}
            Wait& of;
        };
        void fire() override {
            member_.unlink();
            awaiter_.resume();
        }

        Signal& signal_;
        std::optional<Milliseconds> limit_;
        std::coroutine_handle<> awaiter_;
        Member member_{*this};
        bool notified_ = false;
    };

    /// Until the next notify(), or until the limit has passed.
    Wait wait(std::optional<Milliseconds> limit = std::nullopt) { return {*this, limit}; }
    void notify();
    bool awaited() const { return waits_.linked(); }

  private:
    Loop& loop_;
    Link waits_;
};

}  // namespace matrix_sync
