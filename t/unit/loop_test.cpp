// Timers, things to do soon, and signals.
#include "matrix_sync/loop.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "assert_text.hpp"
#include "fake_loop.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

class Event : public Deferred {
  public:
    explicit Event(std::function<void()> action) : action_(std::move(action)) {}

  private:
    void fire() override { action_(); }

    std::function<void()> action_;
};

Task<void> wait_for(Signal& signal, std::optional<Milliseconds> limit, std::string& said, std::string name) {
    bool notified = co_await signal.wait(limit);
    said += name + (notified ? "+" : "-");
}

Task<void> sleep_and_say(Loop& loop, Milliseconds delay, std::string& said, std::string name) {
    co_await loop_sleep(loop, delay);
    said += name;
}

}  // namespace

START_TEST(timers_fire_in_order_of_time_and_then_of_arming) {
    FakeLoop loop;
    std::string said;
    Event a([&] { said += "a"; });
    Event b([&] { said += "b"; });
    Event c([&] { said += "c"; });
    Event d([&] { said += "d"; });
    loop.arm(a, Milliseconds{30});
    loop.arm(b, Milliseconds{10});
    loop.arm(c, Milliseconds{30});
    loop.post(d);
    ck_assert(loop.due() == loop.now());
    loop.settle();
    assert_text(said, "d");
    loop.advance(Milliseconds{9});
    assert_text(said, "d");
    loop.advance(Milliseconds{1});
    assert_text(said, "db");
    // Both are overdue and fire in one turn.
    loop.freeze(Milliseconds{50});
    loop.turn();
    assert_text(said, "dbac");
    ck_assert(!loop.due());
}
END_TEST

START_TEST(asking_again_replaces_what_was_asked) {
    FakeLoop loop;
    int fired = 0;
    Event event([&] { ++fired; });
    loop.arm(event, Milliseconds{10});
    loop.arm(event, Milliseconds{50});
    loop.advance(Milliseconds{49});
    ck_assert_int_eq(fired, 0);
    ck_assert(event.pending());
    loop.advance(Milliseconds{1});
    ck_assert_int_eq(fired, 1);
    ck_assert(!event.pending());

    loop.arm(event, Milliseconds{10});
    loop.post(event);
    loop.turn();
    ck_assert_int_eq(fired, 2);
    loop.advance(Milliseconds{100});
    ck_assert_int_eq(fired, 2);
}
END_TEST

START_TEST(what_is_posted_from_within_waits_for_the_next_turn) {
    FakeLoop loop;
    int fired = 0;
    Event again([&] {
        ++fired;
        loop.post(again);
    });
    loop.post(again);
    for (int turn = 1; turn <= 3; ++turn) {
        loop.turn();
        ck_assert_int_eq(fired, turn);
        ck_assert(loop.due() == loop.now());
    }
}
END_TEST

START_TEST(what_is_armed_from_within_fires_on_time) {
    FakeLoop loop;
    int fired = 0;
    Event beat([&] {
        ++fired;
        loop.arm(beat, Milliseconds{10});
    });
    loop.arm(beat, Milliseconds{10});
    loop.advance(Milliseconds{95});
    ck_assert_int_eq(fired, 9);
}
END_TEST

START_TEST(cancelled_from_within_another_does_not_fire) {
    FakeLoop loop;
    std::string said;
    auto destroyed = std::make_unique<Event>([&] { said += "destroyed"; });
    Event cancelled([&] { said += "cancelled"; });
    Event postponed([&] { said += "postponed"; });
    Event first([&] {
        said += "first ";
        cancelled.cancel();
        destroyed.reset();
        loop.arm(postponed, Milliseconds{5});
    });
    // All four are due in the same turn.
    loop.arm(first, Milliseconds{10});
    loop.arm(cancelled, Milliseconds{10});
    loop.arm(*destroyed, Milliseconds{11});
    loop.arm(postponed, Milliseconds{12});
    loop.freeze(Milliseconds{20});
    loop.turn();
    assert_text(said, "first ");
    loop.advance(Milliseconds{5});
    assert_text(said, "first postponed");
}
END_TEST

START_TEST(an_event_may_destroy_itself) {
    FakeLoop loop;
    int fired = 0;
    std::unique_ptr<Event> event;
    auto action = [&] { ++fired; };
    event = std::make_unique<Event>([&] {
        auto keep = action;
        event.reset();
        keep();
    });
    loop.post(*event);
    loop.turn();
    ck_assert_int_eq(fired, 1);
}
END_TEST

START_TEST(a_loop_that_goes_takes_everything_back) {
    int fired = 0;
    Event soon([&] { ++fired; });
    Event later([&] { ++fired; });
    {
        FakeLoop loop;
        loop.post(soon);
        loop.arm(later, Milliseconds{1});
    }
    ck_assert(!soon.pending());
    ck_assert(!later.pending());
    ck_assert_int_eq(fired, 0);
}
END_TEST

START_TEST(sleepers_wake_in_order) {
    FakeLoop loop;
    std::string said;
    Job a;
    Job b;
    Job c;
    a.start(sleep_and_say(loop, Milliseconds{20}, said, "a"));
    b.start(sleep_and_say(loop, Milliseconds{10}, said, "b"));
    c.start(sleep_and_say(loop, Milliseconds{0}, said, "c"));
    assert_text(said, "");
    b.cancel();
    loop.advance(Milliseconds{20});
    assert_text(said, "ca");
}
END_TEST

START_TEST(a_notification_ends_all_waits_but_from_the_loop) {
    FakeLoop loop;
    Signal signal(loop);
    std::string said;
    Job a;
    Job b;
    a.start(wait_for(signal, std::nullopt, said, "a"));
    b.start(wait_for(signal, Milliseconds{10}, said, "b"));
    ck_assert(signal.awaited());
    signal.notify();
    assert_text(said, "");
    ck_assert(!signal.awaited());
    loop.turn();
    assert_text(said, "a+b+");

    // Whoever waits from now on waits for the next one.
    a.start(wait_for(signal, std::nullopt, said, "a"));
    loop.advance(Milliseconds{1000});
    assert_text(said, "a+b+");
    signal.notify();
    loop.turn();
    assert_text(said, "a+b+a+");
}
END_TEST

START_TEST(a_wait_ends_at_its_limit) {
    FakeLoop loop;
    Signal signal(loop);
    std::string said;
    Job job;
    job.start(wait_for(signal, Milliseconds{10}, said, "a"));
    loop.advance(Milliseconds{9});
    assert_text(said, "");
    loop.advance(Milliseconds{1});
    assert_text(said, "a-");
    ck_assert(!signal.awaited());
    signal.notify();
    loop.settle();
    assert_text(said, "a-");
}
END_TEST

START_TEST(a_notification_before_the_limit_is_served_counts) {
    FakeLoop loop;
    Signal signal(loop);
    std::string said;
    Job job;
    job.start(wait_for(signal, Milliseconds{10}, said, "a"));
    loop.freeze(Milliseconds{20});
    signal.notify();
    loop.settle();
    assert_text(said, "a+");
}
END_TEST

START_TEST(a_wait_that_is_destroyed_leaves_nothing_behind) {
    FakeLoop loop;
    Signal signal(loop);
    std::string said;
    Job waiting;
    Job notified;
    waiting.start(wait_for(signal, Milliseconds{10}, said, "a"));
    waiting.cancel();
    ck_assert(!signal.awaited());
    notified.start(wait_for(signal, std::nullopt, said, "b"));
    signal.notify();
    notified.cancel();
    loop.advance(Milliseconds{100});
    assert_text(said, "");
}
END_TEST

START_TEST(a_signal_may_go_before_its_waits) {
    FakeLoop loop;
    std::string said;
    Job limited;
    Job notified;
    Job endless;
    auto signal = std::make_unique<Signal>(loop);
    notified.start(wait_for(*signal, std::nullopt, said, "n"));
    signal->notify();
    limited.start(wait_for(*signal, Milliseconds{10}, said, "l"));
    endless.start(wait_for(*signal, std::nullopt, said, "e"));
    signal.reset();
    loop.advance(Milliseconds{10});
    assert_text(said, "n+l-");
    endless.cancel();
}
END_TEST

START_TEST(the_shell_is_asked_only_to_come_earlier) {
    FakeLoop loop;
    std::string said;
    Event late([&] { said += "late "; });
    Event later([&] { said += "later "; });
    Event early([&] { said += "early "; });
    Event soon([&] { said += "soon "; });
    Event soon_too([&] { said += "soon too "; });
    loop.arm(late, Milliseconds{20});
    loop.arm(later, Milliseconds{30});
    ck_assert_int_eq(loop.asked(), 1);
    loop.arm(early, Milliseconds{10});
    ck_assert_int_eq(loop.asked(), 2);
    loop.post(soon);
    loop.post(soon_too);
    ck_assert_int_eq(loop.asked(), 3);
    early.cancel();
    loop.settle();
    ck_assert(loop.due() == loop.now() + Milliseconds{20});
    loop.advance(Milliseconds{30});
    assert_text(said, "soon soon too late later ");
}
END_TEST

START_TEST(what_throws_keeps_nobody_else_from_its_turn) {
    FakeLoop loop;
    std::string said;
    Event bad([] { throw std::runtime_error("bad"); });
    Event good([&] { said += "good"; });
    loop.post(bad);
    loop.post(good);
    bool thrown = false;
    try {
        loop.turn();
    } catch (const std::runtime_error&) {
        thrown = true;
    }
    ck_assert(thrown);
    ck_assert(loop.due() == loop.now());
    loop.settle();
    assert_text(said, "good");
}
END_TEST

MATRIX_SYNC_SUITE("loop", timers_fire_in_order_of_time_and_then_of_arming, asking_again_replaces_what_was_asked,
                  what_is_posted_from_within_waits_for_the_next_turn, what_is_armed_from_within_fires_on_time,
                  cancelled_from_within_another_does_not_fire, an_event_may_destroy_itself, a_loop_that_goes_takes_everything_back,
                  sleepers_wake_in_order, a_notification_ends_all_waits_but_from_the_loop, a_wait_ends_at_its_limit,
                  a_notification_before_the_limit_is_served_counts, a_wait_that_is_destroyed_leaves_nothing_behind,
                  a_signal_may_go_before_its_waits, the_shell_is_asked_only_to_come_earlier, what_throws_keeps_nobody_else_from_its_turn)
