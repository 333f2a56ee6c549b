// Coroutines: stack use, exceptions, and that cancellation is destruction.
#include "matrix_sync/task.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_loop.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr int million = 1'000'000;

/// Counts how many of it are alive.
class Witness {
  public:
    explicit Witness(int& alive) : alive_(&alive) { ++*alive_; }
    Witness(const Witness& other) : alive_(other.alive_) { ++*alive_; }
    Witness& operator=(const Witness&) = delete;
    ~Witness() { --*alive_; }

  private:
    int* alive_;
};

Task<int> one() {
    co_return 1;
}

Task<int> one_by_way_of_another() {
    co_return co_await one();
}

Task<int> one_after_a_turn(Loop& loop) {
    co_await loop_pause(loop);
    co_return 1;
}

Task<std::int64_t> sum_at_once(int times) {
    std::int64_t sum = 0;
    for (int i = 0; i < times; ++i) sum += co_await one_by_way_of_another();
    co_return sum;
}

Task<std::int64_t> sum_with_turns(Loop& loop, int times) {
    std::int64_t sum = 0;
    for (int i = 0; i < times; ++i) sum += co_await one_after_a_turn(loop);
    co_return sum;
}

/// Every second one waits, the others do not.
Task<std::int64_t> sum_mixed(Loop& loop, int times) {
    std::int64_t sum = 0;
    for (int i = 0; i < times; ++i) sum += i % 2 ? co_await one_after_a_turn(loop) : co_await one();
    co_return sum;
}

Task<void> broken(Loop* loop, std::string why) {
    if (loop) co_await loop_pause(*loop);
    throw std::runtime_error(why);
}

Task<std::string> caught(Loop* loop) {
    std::string why;
    try {
        co_await broken(loop, "as told");
    } catch (const std::runtime_error& error) {
        why = error.what();
    }
    co_return why;
}

Task<void> inner(Loop& loop, Witness witness, int& steps) {
    Witness local = witness;
    ++steps;
    co_await loop_pause(loop);
    ++steps;
    co_await loop_sleep(loop, Milliseconds{10});
    ++steps;
}

Task<void> outer(Loop& loop, Witness witness, int& steps) {
    std::vector<Witness> several(3, witness);
    co_await inner(loop, witness, steps);
    ++steps;
    co_await inner(loop, several.back(), steps);
    ++steps;
}

Task<std::unique_ptr<int>> move_only() {
    co_return std::make_unique<int>(7);
}

Task<void> nothing() {
    co_return;
}

}  // namespace

START_TEST(a_million_awaits_that_complete_at_once) {
    ck_assert_int_eq(complete(sum_at_once(million)), million);
}
END_TEST

START_TEST(a_million_turns) {
    FakeLoop loop;
    ck_assert_int_eq(complete(
                         sum_with_turns(loop, million), [&loop] { loop.turn(); }, million + 1),
                     million);
}
END_TEST

START_TEST(a_million_mixed) {
    FakeLoop loop;
    ck_assert_int_eq(complete(
                         sum_mixed(loop, million), [&loop] { loop.turn(); }, million + 1),
                     million);
}
END_TEST

START_TEST(results_may_be_move_only) {
    ck_assert_int_eq(*complete(move_only()), 7);
}
END_TEST

START_TEST(exceptions_come_out_where_awaited) {
    FakeLoop loop;
    ck_assert(complete(caught(nullptr)) == "as told");
    ck_assert(complete(caught(&loop), [&loop] { loop.turn(); }) == "as told");
    try {
        complete(broken(&loop, "to the edge"), [&loop] { loop.turn(); });
        ck_abort_msg("nothing was thrown");
    } catch (const std::runtime_error& error) {
        ck_assert_str_eq(error.what(), "to the edge");
    }
}
END_TEST

START_TEST(a_task_is_lazy) {
    FakeLoop loop;
    int alive = 0;
    int steps = 0;
    {
        Task<void> task = outer(loop, Witness(alive), steps);
        ck_assert_int_eq(steps, 0);
        ck_assert_int_eq(alive, 1);
    }
    ck_assert_int_eq(alive, 0);
}
END_TEST

START_TEST(a_task_that_is_assigned_over_is_destroyed) {
    FakeLoop loop;
    int alive = 0;
    int steps = 0;
    Task<void> task = outer(loop, Witness(alive), steps);
    task = nothing();
    complete(std::move(task));
    ck_assert_int_eq(alive, 0);
    ck_assert_int_eq(steps, 0);
}
END_TEST

START_TEST(destruction_at_each_point_runs_destructors) {
    constexpr int last = 8;
    for (int point = 0; point <= last; ++point) {
        FakeLoop loop;
        int alive = 0;
        int steps = 0;
        bool ended = false;
        {
            Job job;
            job.start(outer(loop, Witness(alive), steps), [&ended](std::exception_ptr) { ended = true; });
            for (int turn = 0; turn < point; ++turn) loop.advance(Milliseconds{5});
            ck_assert_int_eq(job.running(), !ended);
            if (!ended) ck_assert_int_gt(alive, 0);
        }
        ck_assert_int_eq(alive, 0);
        ck_assert_int_eq(ended, steps == last);
        ck_assert_int_eq(ended, point >= last / 2);
        // Nothing of it is left in the loop.
        int so_far = steps;
        loop.advance(Milliseconds{100});
        ck_assert_int_eq(steps, so_far);
    }
}
END_TEST

START_TEST(cancelling_does_not_call_ended) {
    FakeLoop loop;
    int alive = 0;
    int steps = 0;
    bool ended = false;
    Job job;
    job.start(outer(loop, Witness(alive), steps), [&ended](std::exception_ptr) { ended = true; });
    job.cancel();
    ck_assert(!job.running());
    ck_assert_int_eq(alive, 0);
    loop.advance(Milliseconds{100});
    ck_assert(!ended);
}
END_TEST

START_TEST(ended_may_destroy_the_job) {
    FakeLoop loop;
    for (bool at_once : {true, false}) {
        int alive = 0;
        int steps = 0;
        int calls = 0;
        auto job = std::make_unique<Job>();
        Job& started = *job;
        auto ended = [&job, &calls, witness = Witness(alive)](std::exception_ptr) {
            ++calls;
            job.reset();
        };
        started.start(at_once ? nothing() : outer(loop, Witness(alive), steps), std::move(ended));
        loop.advance(Milliseconds{100});
        ck_assert_int_eq(calls, 1);
        ck_assert(!job);
        ck_assert_int_eq(alive, 1);  // the one that was moved from
    }
}
END_TEST

START_TEST(ended_gets_what_was_thrown_and_may_start_anew) {
    FakeLoop loop;
    Job job;
    std::vector<std::string> seen;
    Job::Ended ended = [&](std::exception_ptr error) {
        try {
            if (error) std::rethrow_exception(error);
            seen.emplace_back("done");
        } catch (const std::runtime_error& thrown) {
            seen.emplace_back(thrown.what());
            job.start(nothing(), ended);
        }
    };
    job.start(broken(&loop, "first"), ended);
    loop.settle();
    ck_assert_uint_eq(seen.size(), 2);
    ck_assert_str_eq(seen[0].c_str(), "first");
    ck_assert_str_eq(seen[1].c_str(), "done");
    ck_assert(!job.running());
}
END_TEST

MATRIX_SYNC_SUITE("task", a_million_awaits_that_complete_at_once, a_million_turns, a_million_mixed, results_may_be_move_only,
                  exceptions_come_out_where_awaited, a_task_is_lazy, a_task_that_is_assigned_over_is_destroyed,
                  destruction_at_each_point_runs_destructors, cancelling_does_not_call_ended, ended_may_destroy_the_job,
                  ended_gets_what_was_thrown_and_may_start_anew)
