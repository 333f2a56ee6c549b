// Work that goes on by itself, a few pieces at a time.
#include "core/shared_work.hpp"

#include <stdexcept>
#include <string>

#include "assert_text.hpp"
#include "fake_loop.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

/// Pieces 1 to 4, two at a time; each ends when its signal is notified. `log` says what happened: "1" begun, "-1" ended, "." all ended.
struct Pieces {
    Pieces() {
        maker.start(make(), [this](std::exception_ptr error) {
            if (error) log += " failed";
        });
    }

    Task<void> piece(int number) {
        log += " " + std::to_string(number);
        co_await ends[number].wait();
        if (number == failing) throw std::runtime_error("no");
        log += " -" + std::to_string(number);
    }
    Task<void> make() {
        WorkInFlight work(loop, 2);
        for (int number = 1; number <= 4; ++number) co_await work.add(piece(number));
        co_await work.ended();
        log += " .";
    }
    void end(int number) {
        ends[number].notify();
        loop.settle();
    }

    FakeLoop loop;
    Signal ends[5] = {Signal(loop), Signal(loop), Signal(loop), Signal(loop), Signal(loop)};
    int failing = 0;
    std::string log;
    Job maker;
};

}  // namespace

START_TEST(no_more_than_a_few_are_in_flight) {
    Pieces pieces;
    assert_text(pieces.log, " 1 2");
    pieces.end(1);
    assert_text(pieces.log, " 1 2 -1 3");
    pieces.end(3);
    pieces.end(2);
    assert_text(pieces.log, " 1 2 -1 3 -3 -2 4");
    pieces.end(4);
    assert_text(pieces.log, " 1 2 -1 3 -3 -2 4 -4 .");
}
END_TEST

START_TEST(one_that_fails_is_told_of_and_the_rest_is_not_begun) {
    Pieces pieces;
    pieces.failing = 1;
    pieces.end(1);
    assert_text(pieces.log, " 1 2 failed");
    pieces.end(2);
    assert_text(pieces.log, " 1 2 failed");
}
END_TEST

MATRIX_SYNC_SUITE("shared work", no_more_than_a_few_are_in_flight, one_that_fails_is_told_of_and_the_rest_is_not_begun)
