// One budget for all that a worker can read again: what has not been used for longest goes, of whatever kind it is.
#include "core/rooms/cache_budget.hpp"

#include "core/rooms/lru.hpp"
#include "room_world.hpp"
#include "suite.hpp"

using namespace matrix_sync;

START_TEST(the_longest_unused_goes_whatever_it_is) {
    CacheBudget budget(100);
    Lru<int, int> numbers(budget);
    Lru<int, std::string> texts(budget);
    numbers.put(1, 1, 40);
    texts.put(1, "one", 40);
    ck_assert(numbers.get(1));
    numbers.put(2, 2, 40);
    ck_assert(!texts.get(1));
    ck_assert(numbers.get(1) && numbers.get(2));
    ck_assert_uint_eq(budget.bytes(), 80);
    ck_assert_uint_eq(numbers.bytes(), 80);
    ck_assert_uint_eq(texts.bytes(), 0);
    numbers.put(2, 3, 60);
    ck_assert_int_eq(*numbers.get(2), 3);
    ck_assert_uint_eq(budget.bytes(), 100);
    texts.put(2, "larger than all", 1000);
    ck_assert(texts.get(2) && !numbers.get(1) && !numbers.get(2));
    numbers.put(4, 4, 1);
    ck_assert(!texts.get(2) && numbers.get(4));
    numbers.clear();
    ck_assert_uint_eq(budget.bytes(), 0);
}
END_TEST

START_TEST(a_device_keeps_its_rooms_while_it_is_held) {
    RoomWorld world;
    for (int i = 0; i < 5; ++i) world.message("!" + std::to_string(i));
    Lru<int, int> large(world.budget);
    auto load = [&] { world.run(world.device.load_rooms()); };
    world.device.hold();
    load();
    world.device.let_go();
    ck_assert(world.budget.bytes() > 0);

    world.device.hold();
    large.put(1, 1, 64 * 1024 * 1024);
    ck_assert(world.device.rooms_loaded());
    world.message("!0");
    world.device.let_go();
    ck_assert(world.device.rooms_loaded());
    ck_assert(!large.get(1));

    large.put(1, 1, 64 * 1024 * 1024);
    ck_assert(!world.device.rooms_loaded());
    ck_assert_uint_eq(world.budget.bytes(), 64 * 1024 * 1024);
    // It may have news: memory does not know.
    ck_assert(world.device.listed() == world.device.end());
    ck_assert(world.device.room_after(RoomId{"!0"}, &RoomRow::seq, world.device.end()));
    load();
    ck_assert_uint_eq(world.device.rooms().size(), 5);
    ck_assert_uint_eq(world.run(world.device.read_entries(RoomKey{1}, {}, world.end())).size(), 2);
}
END_TEST

MATRIX_SYNC_SUITE("cache budget", the_longest_unused_goes_whatever_it_is, a_device_keeps_its_rooms_while_it_is_held)
