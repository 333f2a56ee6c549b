// What a worker keeps of rooms, and what it must not keep.
#include "room_world.hpp"
// Last, because of Check's macros.
#include "assert_text.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr RoomKey kRoom{1}, kOther{2};

struct Cached : RoomWorld {
    /// A message that the store has; as it is stored.
    StoredEvent message(RoomKey room) { return store.stored[event(room, "m.room.message", std::nullopt, "{}")]; }
    void put(StoredEvent event, RoomCache::Moment before) {
        std::vector<StoredEvent> events;
        events.push_back(std::move(event));
        cache.put(std::move(events), before);
    }
    bool reads(EventRef ref, RoomCache::Moment since = 0) {
        const int before = store.queries;
        std::vector<EventRef> refs = {ref};
        auto found = run(cache.events(std::move(refs), since));
        ck_assert(found.contains(ref));
        return store.queries != before;
    }
    bool reads(const std::string& member, RoomCache::Moment since = 0) {
        const int before = store.queries;
        std::vector<std::string> users = {member};
        auto found = run(cache.members(row("!a:hs").key, std::move(users), since));
        ck_assert(found.contains(member));
        return store.queries != before;
    }
};

/// What is read comes when `answered` is notified.
struct SlowRooms : MemoryRooms {
    explicit SlowRooms(FakeLoop& loop) : answered(loop) {}

    Task<std::vector<StoredEvent>> events(std::vector<EventRef> refs) override {
        ++queries;
        co_await answered.wait();
        std::vector<StoredEvent> found;
        found.reserve(refs.size());
        for (EventRef ref : refs) found.push_back(stored.at(ref));
        co_return found;
    }

    Signal answered;
};

Task<void> read(RoomCache& cache, EventRef ref, RoomCache::Moment since) {
    std::vector<EventRef> refs = {ref};
    co_await cache.events(std::move(refs), since);
}

}  // namespace

START_TEST(what_is_put_is_not_read) {
    Cached world;
    const StoredEvent event = world.message(kRoom);
    world.put(event, world.cache.moment());
    ck_assert(!world.reads(event.ref));
    ck_assert(world.reads(world.message(kRoom).ref));
}
END_TEST

START_TEST(what_was_stored_before_a_redaction_is_read_again) {
    Cached world;
    const StoredEvent event = world.message(kRoom);
    const RoomCache::Moment before = world.cache.moment();
    world.cache.redacted({kRoom});
    world.put(event, before);
    ck_assert(world.reads(event.ref));
    ck_assert(!world.reads(event.ref));
    world.cache.redacted({kOther});
    ck_assert(!world.reads(event.ref));
    world.cache.redacted({kRoom});
    ck_assert(world.reads(event.ref));
    ck_assert(!world.reads(event.ref));
    const StoredEvent another = world.message(kRoom);
    const RoomCache::Moment now = world.cache.moment();
    world.cache.redacted({kOther});
    world.put(another, now);
    ck_assert(!world.reads(another.ref));
    const RoomCache::Moment later = world.cache.moment();
    world.cache.clear();
    world.put(event, later);
    ck_assert(world.reads(event.ref));
}
END_TEST

START_TEST(all_is_read_again_where_too_many_rooms_had_redactions) {
    Cached world;
    const StoredEvent event = world.message(kRoom);
    world.put(event, world.cache.moment());
    std::set<RoomKey> rooms;
    for (std::int64_t room = 1000; room < 51'001; ++room) rooms.insert(RoomKey{room});
    world.cache.redacted(rooms);
    ck_assert(!world.reads(event.ref));
    world.cache.redacted({kOther});
    ck_assert(world.reads(event.ref));
    ck_assert(!world.reads(event.ref));
}
END_TEST

START_TEST(members_that_change_are_no_redaction) {
    Cached world;
    const StoredEvent event = world.message(kRoom);
    const RoomCache::Moment before = world.cache.moment();
    world.cache.members_changed(kRoom);
    world.put(event, before);
    ck_assert(!world.reads(event.ref));
}
END_TEST

START_TEST(what_is_not_as_late_as_was_asked_for_is_read_again) {
    Cached world;
    const StoredEvent event = world.message(kRoom);
    world.put(event, world.cache.moment());
    const RoomCache::Moment since = world.cache.begin();
    ck_assert(!world.reads(event.ref));
    ck_assert(world.reads(event.ref, since));
    ck_assert(!world.reads(event.ref, since));
    ck_assert(!world.reads(event.ref));
}
END_TEST

START_TEST(members_that_are_not_as_late_as_was_asked_for_are_read_again) {
    Cached world;
    const std::string alice = "@alice:hs";
    world.member("!a:hs", alice, "Alice");
    ck_assert(world.reads(alice));
    ck_assert(!world.reads(alice));
    const RoomCache::Moment since = world.cache.begin();
    ck_assert(!world.reads(alice));
    ck_assert(world.reads(alice, since));
    ck_assert(!world.reads(alice, since));
    ck_assert(!world.reads(alice));
}
END_TEST

START_TEST(members_are_as_late_as_when_they_were_asked_for) {
    Cached world;
    const std::string alice = "@alice:hs";
    world.member("!a:hs", alice, "Alice");
    RoomCache::Moment since = 0;
    world.store.read_members = [&] { since = world.cache.begin(); };
    ck_assert(world.reads(alice));
    world.store.read_members = [] {};
    ck_assert(!world.reads(alice));
    ck_assert(world.reads(alice, since));
    ck_assert(!world.reads(alice, since));
}
END_TEST

START_TEST(a_read_that_is_under_way_is_not_shared_by_who_asks_for_later) {
    FakeLoop loop;
    SlowRooms store(loop);
    CacheBudget budget{1024 * 1024};
    RoomCache cache{loop, store, budget};
    const EventRef ref{1};
    store.stored[ref] = {ref, EventId{"$1"}, kRoom, "m.room.message", std::nullopt, UserId{"@me:hs"}, 1, "{}"};
    std::vector<std::unique_ptr<Job>> jobs;
    auto ask = [&](RoomCache::Moment since) {
        jobs.push_back(std::make_unique<Job>());
        jobs.back()->start(read(cache, ref, since));
        return store.queries;
    };
    ck_assert_int_eq(ask(0), 1);
    ck_assert_int_eq(ask(0), 1);
    const RoomCache::Moment since = cache.begin();
    ck_assert_int_eq(ask(since), 2);
    ck_assert_int_eq(ask(0), 2);
    store.answered.notify();
    loop.settle();
    for (const auto& job : jobs) ck_assert(!job->running());
    ck_assert_int_eq(ask(since), 2);
}
END_TEST

MATRIX_SYNC_SUITE("room cache", what_is_put_is_not_read, what_was_stored_before_a_redaction_is_read_again,
                  all_is_read_again_where_too_many_rooms_had_redactions, members_that_change_are_no_redaction,
                  what_is_not_as_late_as_was_asked_for_is_read_again, members_that_are_not_as_late_as_was_asked_for_are_read_again,
                  members_are_as_late_as_when_they_were_asked_for, a_read_that_is_under_way_is_not_shared_by_who_asks_for_later)
