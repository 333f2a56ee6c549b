// Members of a first answer that are put off.
#include "core/devices/late_members.hpp"

#include <algorithm>
#include <set>
#include <string>

#include "assert_text.hpp"
#include "room_at_once.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

std::string member(int number, const std::string& padding = "") {
    const std::string user = "@m" + std::to_string(number) + ":w";
    return R"({"type":"m.room.member","event_id":"$m)" + std::to_string(number) + R"(","sender":")" + user + R"(","state_key":")" + user +
           R"(","origin_server_ts":1,"content":{"membership":"join","displayname":")" + padding +
           R"("},"unsigned":{"replaces_state":"$old"}})";
}

/// With members 0 to `members` - 1, a message of member 5, and the news that member 7 has left.
RoomPart room(const std::string& id, int members, const std::string& summary, const std::string& padding = "") {
    std::string state =
        R"({"type":"m.room.create","event_id":"$create","sender":"@m0:w","state_key":"","origin_server_ts":1,"content":{}})";
    for (int i = 0; i < members; ++i) state += "," + member(i, padding);
    const std::string timeline =
        R"({"type":"m.room.message","event_id":"$1","sender":"@m5:w","origin_server_ts":2,"content":{}},)"
        R"({"type":"m.room.member","event_id":"$2","sender":"@m0:w","state_key":"@m7:w","origin_server_ts":3,"content":{"membership":"leave"}})";
    return room_at_once(RoomId{id}, Section::join,
                        R"({"state":{"events":[)" + state + R"(]},"timeline":{"events":[)" + timeline + R"(]},"summary":)" + summary + "}");
}

std::set<std::string> users(const std::vector<Event>& events) {
    std::set<std::string> users;
    for (const Event& event : events) {
        if (event.is_member()) users.insert(*event.state_key);
    }
    return users;
}

constexpr const char* heroes = R"({"m.heroes":["@m1:w","@m2:w"]})";

void take(LateMembers& late, RoomPart& room) {
    Slices none;
    at_once(late.take(room, none));
}

}  // namespace

START_TEST(who_is_shown_stays_and_the_others_come_later_as_they_were) {
    LateMembers late(UserId{"@m9:w"});
    std::vector<RoomPart> rooms = {room("!r:w", 200, heroes)};
    const std::vector<Event> all = rooms[0].state;
    take(late, rooms[0]);
    ck_assert(rooms[0].broken.empty());
    ck_assert(users(rooms[0].state) == std::set<std::string>({"@m0:w", "@m1:w", "@m2:w", "@m5:w", "@m7:w", "@m9:w"}));
    ck_assert(rooms[0].state.front().is_state("m.room.create"));

    ck_assert(!late.empty());
    std::vector<RoomMembers> members = late.next();
    ck_assert(late.empty());
    ck_assert_uint_eq(members.size(), 1);
    assert_text(members[0].room.value, "!r:w");
    ck_assert_uint_eq(members[0].members.size(), 194);
    for (const Event& event : members[0].members) ck_assert(std::ranges::find(all, event) != all.end());
}
END_TEST

START_TEST(rooms_that_are_small_or_left_or_may_be_named_after_anybody_stay_whole) {
    LateMembers late(UserId{"@m9:w"});
    std::vector<RoomPart> rooms = {room("!small:w", 50, heroes), room("!unnamed:w", 200, "{}"), room("!left:w", 200, heroes)};
    rooms[2].section = Section::leave;
    for (RoomPart& part : rooms) take(late, part);
    ck_assert(late.empty());
    ck_assert_uint_eq(rooms[0].state.size(), 51);
    ck_assert_uint_eq(rooms[1].state.size(), 201);
    ck_assert_uint_eq(rooms[2].state.size(), 201);
}
END_TEST

START_TEST(they_come_in_pieces_and_say_when_they_are_too_many) {
    LateMembers late(UserId{"@m9:w"});
    const std::string padding(5000, 'x');
    for (int i = 0; i < 8; ++i) {
        RoomPart part = room("!r" + std::to_string(i) + ":w", 300, heroes, padding);
        ck_assert(late.full() == (i > 4));
        take(late, part);
    }
    std::size_t members = 0;
    std::set<std::string> rooms;
    while (!late.empty()) {
        std::size_t bytes = 0;
        for (const RoomMembers& part : late.next()) {
            rooms.insert(part.room.value);
            members += part.members.size();
            for (const Event& event : part.members) bytes += event.body.size();
        }
        ck_assert_uint_lt(bytes, 300'000);
    }
    ck_assert_uint_eq(members, 8 * 294);
    ck_assert_uint_eq(rooms.size(), 8);
    ck_assert(!late.full());
}
END_TEST

MATRIX_SYNC_SUITE("late members", who_is_shown_stays_and_the_others_come_later_as_they_were,
                  rooms_that_are_small_or_left_or_may_be_named_after_anybody_stay_whole, they_come_in_pieces_and_say_when_they_are_too_many)
