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
    bool reads(EventRef ref) {
        const int before = store.queries;
        std::vector<EventRef> refs = {ref};
        auto found = run(cache.events(std::move(refs)));
        ck_assert(found.contains(ref));
        return store.queries != before;
    }
};

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

MATRIX_SYNC_SUITE("room cache", what_is_put_is_not_read, what_was_stored_before_a_redaction_is_read_again,
                  all_is_read_again_where_too_many_rooms_had_redactions, members_that_change_are_no_redaction)
