// The end of a log in memory, against the whole log.
#include "core/devices/tail.hpp"

#include <algorithm>
#include <random>
#include <span>

#include "suite.hpp"
#include "world.hpp"

using namespace matrix_sync;

namespace {

constexpr int kRooms = 4;

/// A log that grows, and a tail of it.
class Log {
  public:
    explicit Log(std::uint64_t seed) : random_(seed) {}

    int below(int most) { return std::uniform_int_distribution(0, most - 1)(random_); }

    /// What one poll brings: some entries, and now and then one that the tail never hears of.
    void poll() {
        if (below(50) == 0) entries_.push_back(entry());
        News news;
        news.from = end();
        for (int i = below(3); i > 0; --i) {
            entries_.push_back(entry());
            news.entries.push_back(entries_.back());
        }
        news.to = end_ = Position{end_.value + 1 + below(2)};
        tail.add(std::move(news));
    }

    /// As the store gives them: the newest up to `to`, newest first.
    std::vector<Entry> newest(RoomKey room, Position to) const {
        std::vector<Entry> found;
        for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
            if (entry->room_key == room && entry->seq <= to) found.push_back(*entry);
        }
        return found;
    }
    Position end() const { return end_; }

    Tail tail{Position{0}};

  private:
    Entry entry() {
        Entry entry;
        entry.seq = end_ = Position{end_.value + 1};
        entry.room_key = RoomKey{1 + below(kRooms)};
        entry.events.resize(static_cast<std::size_t>(below(4)));
        entry.gap = below(25) == 0;
        return entry;
    }

    std::mt19937_64 random_;
    std::vector<Entry> entries_;
    Position end_;
};

std::vector<Position> places(std::span<const Entry> entries) {
    std::vector<Position> places;
    for (const Entry& entry : entries) places.push_back(entry.seq);
    return places;
}

/// What the tail has of a room is what the log has, as far back as it goes, and never beyond a gap. Gives how far.
std::size_t check_newest(const Log& log, RoomKey room, Position to, std::size_t most) {
    const std::vector<Entry> kept = log.tail.newest({room}, to, most);
    std::vector<Entry> all = log.newest(room, to);
    auto gap = std::ranges::find_if(all, &Entry::gap);
    if (gap != all.end()) all.erase(gap + 1, all.end());
    ck_assert_uint_le(kept.size(), all.size());
    ck_assert(places(kept) == places(std::span(all).first(kept.size())));
    return kept.size();
}

void check_entries(const Log& log, RoomKey room, Position from, Position to) {
    std::vector<Position> kept = places(log.tail.entries(room, from, to));
    std::ranges::reverse(kept);
    std::vector<Position> all = places(log.newest(room, to));
    std::erase_if(all, [&](Position place) { return place <= from; });
    ck_assert(kept == all);
}

}  // namespace

START_TEST(memory_never_lacks_what_lies_between) {
    std::size_t before = 0;
    for (std::uint64_t trial = 0; trial < world::runs(8); ++trial) {
        Log log(world::seed() + trial);
        for (int step = 0; step < 400; ++step) {
            log.poll();
            const RoomKey room{1 + log.below(kRooms)};
            const Position to{log.end().value - log.below(40)};
            if (log.below(10) == 0) {
                // Read while polls went on.
                std::vector<Entry> read = log.newest(room, to);
                read.resize(std::min<std::size_t>(read.size(), 5));
                for (int polls = log.below(4) * 30; polls > 0; --polls) log.poll();
                log.tail.keep(room, read, to);
            }
            const std::size_t kept = check_newest(log, room, log.end(), 50);
            if (kept > log.tail.entries(room, log.tail.begin(), log.end()).size()) ++before;
            check_newest(log, room, Position{log.end().value - log.below(100)}, 3);
            check_entries(log, room, Position{log.tail.begin().value + log.below(20)}, log.end());
        }
    }
    ck_assert_uint_gt(before, 0);
}
END_TEST

START_TEST(what_lies_behind_a_gap_or_enough_events_is_not_shown) {
    Tail tail{Position{100}};
    auto entry = [](std::int64_t seq, std::size_t events, bool gap = false) {
        Entry entry;
        entry.seq = Position{seq};
        entry.room_key = RoomKey{1};
        entry.events.resize(events);
        entry.gap = gap;
        return entry;
    };
    auto newest = [&](std::size_t most) { return tail.newest({RoomKey{1}}, Position{1000}, most).size(); };
    tail.keep(RoomKey{1}, {entry(90, 2), entry(80, 2), entry(70, 2, true), entry(60, 2)}, Position{100});
    ck_assert_uint_eq(newest(1), 1);
    ck_assert_uint_eq(newest(3), 2);
    ck_assert_uint_eq(newest(50), 3);

    News news;
    news.from = Position{100};
    news.entries = {entry(101, 1)};
    news.to = Position{101};
    tail.add(news);
    ck_assert_uint_eq(newest(50), 4);
    ck_assert_uint_eq(newest(1), 1);
    news.from = Position{101};
    news.entries = {entry(102, 1, true)};
    news.to = Position{102};
    tail.add(news);
    ck_assert_uint_eq(newest(50), 1);
}
END_TEST

START_TEST(it_has_its_bounds) {
    Log log(1);
    std::size_t bytes = 0;
    for (int step = 0; step < 5000; ++step) {
        log.poll();
        if (step % 1000 == 0) log.tail.keep(RoomKey{1}, log.newest(RoomKey{1}, log.end()), log.end());
        bytes = std::max(bytes, log.tail.bytes());
    }
    ck_assert_uint_lt(bytes, 200'000);
    log.tail.restart(log.end());
    ck_assert_uint_eq(log.tail.bytes(), 0);
    ck_assert(log.tail.begin() == log.end());
    ck_assert(log.tail.newest({RoomKey{1}}, log.end(), 10).empty());
}
END_TEST

MATRIX_SYNC_SUITE("tail", memory_never_lacks_what_lies_between, what_lies_behind_a_gap_or_enough_events_is_not_shown, it_has_its_bounds)
