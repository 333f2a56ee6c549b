// What operators are told: how often a line is written, and what the figures count.
#include "core/devices/failing.hpp"
#include "core/seldom.hpp"
#include "fake_loop.hpp"
#include "matrix_sync/status.hpp"

#include "assert_text.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

struct Said {
    std::string text;
    SeldomLine::Log log = [this](LogLevel level, const std::string& line) {
        constexpr const char* names[] = {"error", "warn", "notice", "info"};
        text += std::string(names[static_cast<int>(level)]) + " " + line + "|";
    };
    std::string take() { return std::exchange(text, {}); }
};

}  // namespace

START_TEST(a_seldom_line_is_written_once_a_minute_and_counts_the_others) {
    FakeLoop loop;
    Said said;
    SeldomLine line(loop, said.log);
    for (int i = 0; i < 5; ++i) line.write(LogLevel::error, "bad " + std::to_string(i));
    assert_text(said.take(), "error bad 0|");
    loop.advance(Milliseconds{59'999});
    ck_assert(!line.write(LogLevel::error, "bad"));
    loop.advance(Milliseconds{1});
    ck_assert(line.write(LogLevel::error, "bad"));
    assert_text(said.take(), "error bad; since the last such line 5 more were left out|");
    loop.advance(Milliseconds{60'000});
    line.write(LogLevel::error, "bad");
    assert_text(said.take(), "error bad|");
}
END_TEST

START_TEST(devices_that_fail_are_counted_once_a_minute_and_their_end_is_told) {
    FakeLoop loop;
    Said said;
    FailingDevices all(loop, said.log);
    std::optional<FailingDevices::One> a(std::in_place, all);
    all.failed("a");
    assert_text(said.take(), "info a|warn a; devices of this worker that fail now: 1|");
    std::optional<FailingDevices::One> b(std::in_place, all);
    all.failed("b");
    assert_text(said.take(), "info b|");
    loop.advance(Milliseconds{61'000});
    all.failed("a");
    assert_text(said.take(), "info a|warn a; devices of this worker that fail now: 2; since the last such line 1 more were left out|");
    a.reset();
    assert_text(said.take(), "");
    b.reset();
    assert_text(said.take(), "notice no device of this worker fails any more, after 61 s|");
    ck_assert_uint_eq(all.count(), 0);
}
END_TEST

START_TEST(one_that_comes_and_goes_is_told_once_a_minute) {
    FakeLoop loop;
    Said said;
    FailingDevices all(loop, said.log);
    for (int i = 0; i < 50; ++i) {
        FailingDevices::One one(all);
        all.failed("a");
        loop.advance(Milliseconds{1'000});
    }
    std::string text = said.take();
    ck_assert(text.find("warn") == text.rfind("warn"));
    ck_assert(text.find("notice") == text.rfind("notice") && text.find("notice") != std::string::npos);
}
END_TEST

START_TEST(a_worker_that_stops_does_not_tell_that_all_is_well) {
    FakeLoop loop;
    Said said;
    FailingDevices all(loop, said.log);
    std::optional<FailingDevices::One> one(std::in_place, all);
    all.failed("a");
    said.take();
    all.close();
    one.reset();
    assert_text(said.take(), "");
}
END_TEST

START_TEST(a_histogram_counts_up_to_its_bounds) {
    Histogram histogram;
    for (int ms : {-5, 0, 10, 11, 30'000, 30'001}) histogram.add(Milliseconds{ms});
    ck_assert_uint_eq(histogram.count, 6);
    ck_assert_uint_eq(histogram.sum_ms, 60'022);
    ck_assert_uint_eq(histogram.within[0], 3);
    ck_assert_uint_eq(histogram.within[1], 1);
    ck_assert_uint_eq(histogram.within.back(), 1);
}
END_TEST

START_TEST(replies_without_a_kind_of_their_own_are_counted_too) {
    Status status;
    status.replied(200, "");
    status.replied(400, "M_NOT_JSON");
    status.replied(400, "M_SOMETHING");
    status.replied(418, "");
    ck_assert_uint_eq(status.replies.front(), 1);
    ck_assert_uint_eq(status.replies[3], 1);
    ck_assert_uint_eq(status.replies.back(), 2);
}
END_TEST

MATRIX_SYNC_SUITE("operator", a_seldom_line_is_written_once_a_minute_and_counts_the_others,
                  devices_that_fail_are_counted_once_a_minute_and_their_end_is_told, one_that_comes_and_goes_is_told_once_a_minute,
                  a_worker_that_stops_does_not_tell_that_all_is_well, a_histogram_counts_up_to_its_bounds,
                  replies_without_a_kind_of_their_own_are_counted_too)
