// Member lists in memory: in order, as new as the database, fetched when nobody can say that they are complete.
#include "core/rooms/member_lists.hpp"

#include <random>

#include "core/devices/poller.hpp"
#include "fake_homeserver.hpp"
#include "member_storage.hpp"
#include "storage/rooms.hpp"
// Last, because of Check's macros.
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr const char* kTarget = "/_matrix/client/v3/rooms/%21r%3Aworld/members";

std::string chunk(const std::vector<Event>& events) {
    std::string text;
    for (const Event& event : events) text += (text.empty() ? "" : ",") + event.body;
    return R"({"before":[{"chunk":[1]}],"chunk":[)" + text + R"(],"after":1})";
}

/// Members are stored only after some turns of the loop.
class SlowRooms : public PostgresRooms {
  public:
    SlowRooms(Loop& loop, Database& database) : PostgresRooms(database), loop_(loop) {}
    int turns = 0;

    Task<std::vector<RoomKey>> store_members(std::vector<RoomMembers> rooms, std::int64_t asked) override {
        for (int i = 0; i < turns; ++i) co_await loop_pause(loop_);
        co_return co_await PostgresRooms::store_members(std::move(rooms), asked);
    }

  private:
    Loop& loop_;
};

struct Lists : MemberStorage {
    explicit Lists(std::size_t most = 1000) : budget(most * MemberLists::kMemberBytes) {
        homeserver = std::make_shared<FakeHomeserver>();
        credential.access_token = "secret";
        credential.homeserver = homeserver;
    }

    Task<MemberLists::ListPtr> looking(RoomKey room, const std::string& id = "!r:world") {
        RoomId name{id};
        co_return co_await lists.look(room, name, credential);
    }
    MemberLists::ListPtr look(RoomKey room, const std::string& id = "!r:world") {
        return complete(
            looking(room, id), [this] { loop.turn(); }, 100'000);
    }
    /// What the look failed with: "status errcode".
    std::string trouble(RoomKey room, const std::string& id = "!r:world") {
        try {
            look(room, id);
        } catch (const MatrixError& error) {
            return std::to_string(error.status) + " " + error.errcode;
        }
        return "none";
    }
    void answer(const std::vector<Event>& events) { homeserver->answers[kTarget] = {200, chunk(events)}; }

    FakeLoop loop;
    SlowRooms rooms{loop, watched};
    CacheBudget budget;
    int news = 0;
    MemberLists lists{loop, rooms, budget, [this](RoomKey) { ++news; }};
    std::shared_ptr<FakeHomeserver> homeserver;
    Credential credential;
};

std::string text(const MemberList& list, const Memberships& memberships = {Membership::join, Membership::invite}) {
    std::string all;
    list.each_after({}, memberships, [&](const MemberList::Item& item) {
        all += (all.empty() ? "" : " ") + item.place.user;
        return true;
    });
    return all;
}

Member member(const std::string& user, const std::string& sort_name, Membership membership) {
    Member member;
    member.user = UserId{user};
    member.sort_name = sort_name;
    member.membership = membership;
    member.ref = EventRef{static_cast<std::int64_t>(user.size() + sort_name.size())};
    return member;
}

}  // namespace

START_TEST(a_list_stays_in_order_through_changes) {
    std::mt19937 random(7);
    auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
    std::map<std::string, Member> model;
    MemberList list;
    for (std::int64_t version = 1; version <= 500; ++version) {
        MemberChanges changes;
        changes.end.version = version;
        for (int i = below(5); i > 0; --i) {
            const std::string user = "@" + std::to_string(below(60));
            if (below(10) == 0) {
                changes.gone.push_back(UserId{user});
                std::erase_if(changes.rows, [&](const Member& row) { return row.user.value == user; });
                model.erase(user);
            } else if (std::ranges::none_of(changes.gone, [&](const UserId& gone) { return gone.value == user; })) {
                std::erase_if(changes.rows, [&](const Member& row) { return row.user.value == user; });
                changes.rows.push_back(
                    member(user, "n" + std::to_string(below(8)), Membership{static_cast<std::int16_t>(1 + below(kMemberships))}));
                model[user] = changes.rows.back();
            }
        }
        list.apply(changes);

        const Memberships asked{Membership{static_cast<std::int16_t>(1 + below(5))}, Membership{static_cast<std::int16_t>(1 + below(5))}};
        const MemberPlace from{"n" + std::to_string(below(9)), "@" + std::to_string(below(60))};
        std::set<MemberPlace> expected;
        std::size_t count = 0;
        for (const auto& [user, row] : model) {
            const bool in = asked.contains(row.membership);
            count += in ? 1 : 0;
            const MemberPlace place{row.sort_name, user};
            if (in && place > from) expected.insert(place);
            ck_assert((list.find(user, asked) != nullptr) == in);
        }
        std::vector<MemberPlace> got;
        list.each_after(from, asked, [&](const MemberList::Item& item) {
            got.push_back(item.place);
            return true;
        });
        ck_assert(got == std::vector<MemberPlace>(expected.begin(), expected.end()));
        ck_assert_uint_eq(list.count(asked), count);
        ck_assert_uint_eq(list.size(), model.size());
        ck_assert_uint_eq(list.users().size(), model.size());
        ck_assert_int_eq(list.version(), version);
    }
}
END_TEST

START_TEST(a_list_is_fetched_once_and_kept_up_to_date) {
    Lists lists;
    const RoomKey room = lists.room();
    lists.answer({member_event("$1", "@b:w", "Bea"), member_event("$2", "@a:w", "Ann"), member_event("$3", "@c:w", "", "invite"),
                  member_event("$4", "@d:w", "", "leave")});
    auto list = lists.look(room);
    ck_assert(list);
    assert_text(text(*list), "@a:w @b:w @c:w");
    ck_assert_uint_eq(lists.homeserver->calls.size(), 1);
    assert_text(lists.homeserver->calls[0].target, kTarget);
    assert_text(lists.homeserver->calls[0].access_token, "secret");
    ck_assert_uint_eq(lists.lists.kept(), 4);

    const Microseconds now = lists.now();
    lists.tell(room, member_event("$5", "@a:w", "Zoe"), {now, now + 1});
    lists.watched.statements.clear();
    list = lists.look(room);
    assert_text(text(*list), "@b:w @c:w @a:w");
    ck_assert_uint_eq(lists.watched.statements.size(), 1);
    ck_assert_uint_eq(lists.homeserver->calls.size(), 1);

    lists.write(room, {}, lists.now());  // a gap
    lists.answer({member_event("$6", "@b:w", "Bea B.")});
    list = lists.look(room);
    assert_text(text(*list), "@b:w");
    ck_assert_uint_eq(lists.homeserver->calls.size(), 2);
}
END_TEST

START_TEST(a_fetched_list_that_says_something_new_is_told_of) {
    Lists lists;
    const RoomKey room = lists.room();
    auto fetched = [&] {
        const int before = lists.news;
        lists.write(room, {}, lists.now());  // a gap
        lists.look(room);
        return lists.news - before;
    };
    lists.answer({member_event("$1", "@b:w", "Bea")});
    ck_assert_int_eq(fetched(), 1);
    ck_assert_int_eq(fetched(), 0);
    lists.answer({member_event("$2", "@b:w", "Bea B.")});
    ck_assert_int_eq(fetched(), 1);
    lists.homeserver->answers[kTarget] = {403, "{}"};
    ck_assert_int_eq(fetched(), 0);
    // It breaks off when some of it has been stored.
    auto many = [](const std::string& name, int count) {
        std::vector<Event> events;
        events.reserve(static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) events.push_back(member_event("$" + name + std::to_string(i), "@m" + std::to_string(i) + ":w"));
        return chunk(events);
    };
    const std::string whole = many("r", 3500);
    lists.homeserver->answers[kTarget] = {200, whole.substr(0, whole.size() - 1)};
    lists.homeserver->at_once = 10'000;
    assert_text(lists.trouble(room), "502 M_UNKNOWN");
    ck_assert_int_eq(lists.news, 3);
    // And when some of it is being stored.
    lists.rooms.turns = 100;
    const RoomKey other = lists.room("!s:world");
    const std::string part = many("s", 1500);
    lists.homeserver->answers["/_matrix/client/v3/rooms/%21s%3Aworld/members"] = {200, part.substr(0, part.size() - 1)};
    lists.homeserver->at_once = part.size();
    assert_text(lists.trouble(other, "!s:world"), "502 M_UNKNOWN");
    ck_assert_int_eq(lists.news, 4);
    ck_assert(complete(lists.members.member_list(other)).version > 0);
}
END_TEST

START_TEST(what_puts_a_list_in_doubt_while_it_is_fetched_makes_it_be_fetched_again) {
    Lists lists;
    const RoomKey room = lists.room();
    lists.answer({member_event("$1", "@b:w", "Bea")});
    int gaps = 1;
    lists.homeserver->when_asked = [&] {
        if (gaps-- > 0) lists.write(room, {}, lists.now());
    };
    ck_assert(lists.look(room));
    ck_assert_uint_eq(lists.homeserver->calls.size(), 2);
    ck_assert(complete(lists.members.member_list(room)).complete);
    lists.write(room, {}, lists.now());
    gaps = 1000;
    ck_assert(lists.look(room));  // there is an end to it
    ck_assert_uint_eq(lists.homeserver->calls.size(), 5);
}
END_TEST

START_TEST(those_who_look_together_share_what_begins_after_them) {
    Lists lists;
    const RoomKey room = lists.room();
    lists.answer({member_event("$1", "@a:w", "Ann")});
    std::vector<MemberLists::ListPtr> got;
    auto one = [&]() -> Task<void> { got.push_back(co_await lists.looking(room)); };
    std::vector<std::unique_ptr<Job>> jobs;
    for (int i = 0; i < 5; ++i) {
        jobs.push_back(std::make_unique<Job>());
        jobs.back()->start(one());
    }
    ck_assert_uint_eq(lists.homeserver->calls.size(), 1);
    jobs[1].reset();  // hangs up
    lists.watched.statements.clear();
    int changes = 0;
    lists.watched.before = [&](const Statement& statement) { changes += std::string(statement.name) == "member_rows_get_changes"; };
    while (got.size() < 4) {
        ck_assert(lists.loop.due().has_value());
        lists.loop.turn();
    }
    ck_assert_uint_eq(lists.homeserver->calls.size(), 1);
    ck_assert_int_eq(changes, 1);
    for (const auto& list : got) assert_text(text(*list), "@a:w");
}
END_TEST

START_TEST(a_refusal_is_one_users_and_a_failure_everybodys) {
    Lists lists;
    const RoomKey room = lists.room();
    lists.homeserver->answers[kTarget] = {403, R"({"errcode":"M_FORBIDDEN"})"};
    ck_assert(!lists.look(room));
    lists.homeserver->answers[kTarget] = {404, "{}"};
    ck_assert(!lists.look(room));
    lists.homeserver->answers[kTarget] = {429, R"({"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500})"};
    assert_text(lists.trouble(room), "429 M_LIMIT_EXCEEDED");
    lists.homeserver->full = true;
    assert_text(lists.trouble(room), "429 M_LIMIT_EXCEEDED");
    lists.homeserver->full = false;
    for (const FakeHomeserver::Answer& answer :
         std::vector<FakeHomeserver::Answer>{{500, "{}"},
                                             {401, R"({"errcode":"M_UNKNOWN_TOKEN"})"},
                                             {502, "", false, false},
                                             {404, "", false, false},
                                             {200, "no JSON"},
                                             {200, "[]"},
                                             {200, R"({"chunk":{}})"},
                                             {200, R"({"chunk":[]})"},
                                             {200, "{}"},
                                             {200, R"({"chunk":[)"},
                                             {200, chunk({member_event("$1", "@a:w", "Ann")}), true}}) {
        lists.homeserver->answers[kTarget] = answer;
        lists.homeserver->at_once = 10;
        assert_text(lists.trouble(room), "502 M_UNKNOWN");
        ck_assert(!complete(lists.members.member_list(room)).complete);
    }
    // Another user may see what the first may not.
    auto strict = std::make_shared<FakeHomeserver>();
    strict->answers[kTarget] = {403, "{}"};
    lists.answer({member_event("$1", "@a:w", "Ann")});
    Credential refused = lists.credential;
    refused.homeserver = strict;
    RoomId id{"!r:world"};
    MemberLists::ListPtr first, second;
    bool first_done = false;
    auto forbidden = [&]() -> Task<void> {
        first = co_await lists.lists.look(room, id, refused);
        first_done = true;
    };
    auto behind = [&]() -> Task<void> { second = co_await lists.lists.look(room, id, refused); };
    Job one, two, three;
    MemberLists::ListPtr third;
    auto allowed = [&]() -> Task<void> { third = co_await lists.looking(room); };
    one.start(forbidden());
    two.start(behind());
    three.start(allowed());
    while (three.running()) {
        ck_assert(lists.loop.due().has_value());
        lists.loop.turn();
    }
    ck_assert(first_done && !first && !second && third);
    assert_text(text(*third), "@a:w");
    ck_assert_uint_eq(strict->calls.size(), 2);
}
END_TEST

START_TEST(a_hostile_list_does_no_harm) {
    Lists lists;
    const RoomKey room = lists.room();
    lists.homeserver->at_once = 7;
    Event no_id = member_event("$9", "@n:w");
    no_id.body = R"({"type":"m.room.member","state_key":"@n:w","sender":"@n:w","content":{}})";
    Event deep = member_event("$8", "@deep:w");
    deep.body.insert(deep.body.size() - 2, R"(,"x":)" + std::string(1100, '[') + std::string(1100, ']'));
    Event zero = member_event("$7", "@zero:w");
    zero.body.insert(zero.body.size() - 2, R"(,"displayname":"a\u0000b\ud800")");
    lists.homeserver->answers[kTarget] = {200, R"({"chunk":[1,null,"x",[],{},)" + no_id.body + "," + deep.body + "," + zero.body + "," +
                                                   zero.body + "," + member_event("$6", std::string(300, 'u')).body + "," +
                                                   member_event("$5", "").body + "]}"};
    auto list = lists.look(room);
    ck_assert(list);
    assert_text(text(*list), "@zero:w");
}
END_TEST

START_TEST(large_lists_come_in_pages_and_go_when_others_are_looked_at) {
    Lists lists(3000);
    auto fill = [&](RoomKey room, int count) {
        lists.database.execute("INSERT INTO member_list (room, version, fetched) VALUES (" + std::to_string(room.value) + ", 1, 1)");
        lists.database.execute("INSERT INTO member SELECT " + std::to_string(room.value) +
                               ", '@' || i, 1, NULL, i, 1 + i % 2, 'n' || 1000000 - i, NULL, NULL, 0, 1, '{}' FROM generate_series(1, " +
                               std::to_string(count) + ") i");
    };
    const RoomKey large = lists.room("!large");
    const RoomKey small = lists.room("!small");
    const RoomKey other = lists.room("!other");
    fill(large, 2500);
    fill(small, 400);
    fill(other, 400);
    auto list = lists.look(large);
    ck_assert_uint_eq(list->size(), 2500);
    ck_assert_uint_eq(list->count({Membership::join}), 1250);
    ck_assert(text(*list).starts_with("@2500 @2499 @2498"));
    lists.look(small);
    ck_assert_uint_eq(lists.lists.kept(), 2900);
    lists.look(large);
    lists.look(other);
    ck_assert_uint_eq(lists.lists.kept(), 2900);  // the small one has gone
    ck_assert_uint_eq(list->size(), 2500);

    const RoomKey huge = lists.room("!huge");
    fill(huge, 3500);
    ck_assert_uint_eq(lists.look(huge)->size(), 3500);
    ck_assert_uint_eq(lists.lists.kept(), 3500);  // it alone, as long as nothing else is used

    // So many changes that the list is loaded anew.
    lists.look(small);
    ck_assert_uint_eq(lists.lists.kept(), 400);
    lists.database.execute("INSERT INTO member SELECT " + std::to_string(small.value) +
                           ", '@x' || i, 2, NULL, i, 1, 'n' || i, NULL, NULL, 0, 1, '{}' FROM generate_series(1, 12000) i; "
                           "UPDATE member_list SET version = 2 WHERE room = " +
                           std::to_string(small.value));
    ck_assert_uint_eq(lists.look(small)->size(), 12400);
}
END_TEST

MATRIX_SYNC_SUITE("member lists", a_list_stays_in_order_through_changes, a_list_is_fetched_once_and_kept_up_to_date,
                  a_fetched_list_that_says_something_new_is_told_of,
                  what_puts_a_list_in_doubt_while_it_is_fetched_makes_it_be_fetched_again,
                  those_who_look_together_share_what_begins_after_them, a_refusal_is_one_users_and_a_failure_everybodys,
                  a_hostile_list_does_no_harm, large_lists_come_in_pages_and_go_when_others_are_looked_at)
