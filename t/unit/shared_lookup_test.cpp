// Reads that are shared while they are under way.
#include "core/rooms/shared_lookup.hpp"

#include <stdexcept>
#include <string>

#include "assert_text.hpp"
#include "fake_loop.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

using Lookup = SharedLookup<int, std::string>;

/// Even numbers exist; a read takes until `answered` is notified.
struct Numbers {
    Task<Lookup::Found> read(std::vector<int> keys) {
        std::string asked;
        for (int key : keys) asked += (asked.empty() ? "" : " ") + std::to_string(key);
        reads.push_back(std::move(asked));
        const std::string now = version;
        co_await answered.wait();
        if (fails) throw std::runtime_error("no answer");
        Lookup::Found found;
        for (int key : keys) {
            if (key % 2 == 0) found.emplace(key, std::to_string(key) + now);
        }
        co_return found;
    }

    FakeLoop loop;
    Signal answered{loop};
    std::string version = "a";
    bool fails = false;
    std::vector<std::string> reads;
    Lookup lookup{loop, [this](std::vector<int> keys) { return read(std::move(keys)); }};
};

/// What somebody asked for, as text; "!" when that failed.
struct Asking {
    Asking(Numbers& numbers, std::vector<int> keys) {
        job.start(ask(numbers, std::move(keys)), [this](std::exception_ptr error) {
            if (error) got = "!";
        });
    }

    Task<void> ask(Numbers& numbers, std::vector<int> keys) {
        const Lookup::Found found = co_await numbers.lookup.find(std::move(keys));
        for (const auto& [key, value] : found) got += (got.empty() ? "" : " ") + value;
        if (got.empty()) got = "none";
    }

    std::string got;
    Job job;
};

void answer(Numbers& numbers) {
    numbers.answered.notify();
    numbers.loop.settle();
}

}  // namespace

START_TEST(what_is_being_read_is_not_asked_for_again) {
    Numbers numbers;
    Asking first(numbers, {2, 3, 4});
    Asking second(numbers, {4, 6, 3, 6});
    Asking third(numbers, {3});
    ck_assert_uint_eq(numbers.reads.size(), 2);
    assert_text(numbers.reads[0], "2 3 4");
    assert_text(numbers.reads[1], "6");
    answer(numbers);
    assert_text(first.got, "2a 4a");
    assert_text(second.got, "4a 6a");
    assert_text(third.got, "none");
}
END_TEST

START_TEST(what_has_been_read_is_asked_for_again) {
    Numbers numbers;
    Asking first(numbers, {2});
    answer(numbers);
    numbers.version = "b";
    Asking second(numbers, {2});
    answer(numbers);
    assert_text(first.got + second.got, "2a2b");
}
END_TEST

START_TEST(after_a_change_nobody_shares_what_was_read_before) {
    Numbers numbers;
    Asking before(numbers, {2});
    numbers.version = "b";
    numbers.lookup.forget();
    Asking after(numbers, {2});
    ck_assert_uint_eq(numbers.reads.size(), 2);
    answer(numbers);
    assert_text(before.got + after.got, "2a2b");
}
END_TEST

START_TEST(a_failure_is_that_of_all_who_share_and_of_nobody_later) {
    Numbers numbers;
    numbers.fails = true;
    Asking first(numbers, {2});
    Asking second(numbers, {2, 4});
    answer(numbers);
    assert_text(first.got + second.got, "!!");
    numbers.fails = false;
    Asking third(numbers, {2});
    answer(numbers);
    assert_text(third.got, "2a");
}
END_TEST

START_TEST(who_asked_first_may_give_up) {
    Numbers numbers;
    auto first = std::make_unique<Asking>(numbers, std::vector<int>{2});
    Asking second(numbers, {2});
    first.reset();
    ck_assert_uint_eq(numbers.reads.size(), 1);
    answer(numbers);
    assert_text(second.got, "2a");
}
END_TEST

MATRIX_SYNC_SUITE("shared lookup", what_is_being_read_is_not_asked_for_again, what_has_been_read_is_asked_for_again,
                  after_a_change_nobody_shares_what_was_read_before, a_failure_is_that_of_all_who_share_and_of_nobody_later,
                  who_asked_first_may_give_up)
