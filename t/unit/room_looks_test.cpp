// What a room list shows of rooms, and in which order: parameters, sorts, filters, looks.
#include "core/rooms/stripped.hpp"
#include "core/streams/room_list_terms.hpp"
#include "matrix_sync/error.hpp"
#include "room_world.hpp"
// Last, because of Check's macros.
#include "assert_text.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

RoomListTerms terms(const std::string& params) {
    const Json json = Json::parse(params);
    return RoomListTerms(Fields(json, "room_list"));
}

std::string refusal(const std::string& params) {
    try {
        terms(params);
    } catch (const MatrixError& error) {
        return error.errcode + " " + error.what();
    }
    return "none";
}

/// Rooms a, b, c, … to sort and filter.
struct Rooms {
    std::map<std::string, RoomRow> rows;
    std::map<std::string, RoomLook> looks;
    std::map<std::string, std::string> names;
    std::map<std::string, std::size_t> places;

    RoomRow& operator[](const std::string& id) {
        auto [row, fresh] = rows.try_emplace(id);
        row->second.room = RoomId{id};
        if (fresh) row->second.section = Section::join;
        return row->second;
    }
    ListedRoom listed(const std::string& id) {
        looks[id] = look_at(rows[id], UserId{"@me:hs"});
        return {&rows[id], &looks[id], names[id], false, places[id]};
    }
    std::vector<ListedRoom> all() {
        std::vector<ListedRoom> all;
        for (const auto& [id, row] : rows) all.push_back(listed(id));
        return all;
    }
    std::string sorted(std::vector<RoomSort> by) {
        std::vector<ListedRoom> rooms = all();
        sort_rooms(rooms, by);
        std::string ids;
        for (const ListedRoom& room : rooms) ids += room.row->room.value;
        return ids;
    }
    std::string matching(const std::string& filters) {
        const RoomListTerms wanted = terms(R"({"filters":)" + filters + "}");
        std::string ids;
        for (const ListedRoom& room : all()) {
            if (matches(wanted.filters, room)) ids += room.row->room.value;
        }
        return ids;
    }
};

START_TEST(sorts) {
    Rooms rooms;
    rooms["a"].timestamp = 5;
    rooms["b"].timestamp = 7;
    rooms["c"].timestamp = 6;
    rooms["d"].timestamp = 7;
    rooms["a"].notifications = R"({"highlight_count":1,"notification_count":1})";
    rooms["c"].notifications = R"({"highlight_count":0,"notification_count":9})";
    rooms["d"].thread_notifications = R"({"$1":{"highlight_count":1,"notification_count":4},"$2":{"highlight_count":2}})";
    rooms.names = {{"a", "zoo"}, {"b", "alpha"}, {"c", "alpha"}, {"d", "\u00e9t\u00e9"}};
    rooms.places = {{"a", 2}, {"b", 0}, {"c", 1}, {"d", 0}};
    assert_text(rooms.sorted({RoomSort::by_recency}), "bdca");
    assert_text(rooms.sorted({RoomSort::by_name}), "bcad");
    assert_text(rooms.sorted({RoomSort::by_highlight_count}), "dabc");
    assert_text(rooms.sorted({RoomSort::by_notification_count}), "cdab");
    assert_text(rooms.sorted({RoomSort::by_space_order}), "bdca");
    assert_text(rooms.sorted({RoomSort::by_highlight_count, RoomSort::by_name}), "dabc");
    assert_text(rooms.sorted({RoomSort::by_highlight_count, RoomSort::by_notification_count}), "dacb");
    assert_text(rooms.sorted({RoomSort::by_name, RoomSort::by_recency}), "bcad");
}
END_TEST

START_TEST(filters) {
    Rooms rooms;
    rooms["a"].direct = true;
    rooms["b"].heads.encryption = EventRef{1};
    rooms["c"].type = "m.space";
    rooms["d"].tags = R"({"m.favourite":{"order":0.5},"u.x":{},"broken":1})";
    rooms["e"].section = Section::invite;
    rooms["e"].stripped = R"([{"type":"m.room.create","state_key":"","content":{"type":"m.space"}},
                              {"type":"m.room.encryption","state_key":"","content":{}}])";
    rooms["f"].section = Section::knock;
    rooms.names = {{"a", "alice"}, {"b", "malice"}, {"c", "bob"}};
    assert_text(rooms.matching("{}"), "abcdef");
    assert_text(rooms.matching(R"({"is_dm":true})"), "a");
    assert_text(rooms.matching(R"({"is_dm":false})"), "bcdef");
    assert_text(rooms.matching(R"({"is_encrypted":true})"), "be");
    assert_text(rooms.matching(R"({"is_encrypted":false})"), "acdf");
    assert_text(rooms.matching(R"({"is_invite":true})"), "e");
    assert_text(rooms.matching(R"({"is_invite":false})"), "abcdf");
    assert_text(rooms.matching(R"({"room_types":["m.space"]})"), "ce");
    assert_text(rooms.matching(R"({"room_types":[null]})"), "abdf");
    assert_text(rooms.matching(R"({"room_types":[null,"m.space"]})"), "abcdef");
    assert_text(rooms.matching(R"({"room_types":[]})"), "");
    assert_text(rooms.matching(R"({"not_room_types":["m.space"]})"), "abdf");
    assert_text(rooms.matching(R"({"not_room_types":[null]})"), "ce");
    assert_text(rooms.matching(R"({"room_types":["m.space"],"not_room_types":["m.space"]})"), "");
    assert_text(rooms.matching(R"({"tags":["u.y","u.x"]})"), "d");
    assert_text(rooms.matching(R"({"tags":["broken"]})"), "");
    assert_text(rooms.matching(R"({"not_tags":["u.x"]})"), "abcef");
    assert_text(rooms.matching(R"({"tags":["m.favourite"],"not_tags":["u.x"]})"), "");
    assert_text(rooms.matching(R"({"room_name_like":"LICE"})"), "ab");
    assert_text(rooms.matching(R"({"room_name_like":"lice","is_dm":false})"), "b");
}
END_TEST

START_TEST(what_filters_look_at) {
    RoomRow row;
    row.section = Section::join;
    row.entered = {1};
    row.direct_changed = {2};
    row.tags_changed = {3};
    row.state_changed = {4};
    row.summary_changed = {5};
    row.members = {6};
    row.listed = {9};
    ListedRoom room;
    room.row = &row;
    auto at = [&](const std::string& filters) { return looked_at(terms(R"({"filters":)" + filters + "}").filters, room).value; };
    ck_assert_int_eq(at("{}"), 0);
    ck_assert_int_eq(at(R"({"is_invite":true})"), 1);
    ck_assert_int_eq(at(R"({"is_dm":true})"), 2);
    ck_assert_int_eq(at(R"({"not_tags":["x"]})"), 3);
    ck_assert_int_eq(at(R"({"is_encrypted":true,"tags":["x"]})"), 4);
    ck_assert_int_eq(at(R"({"room_types":["x"]})"), 4);
    ck_assert_int_eq(at(R"({"room_name_like":"x"})"), 6);
    room.named = true;
    ck_assert_int_eq(at(R"({"room_name_like":"x"})"), 4);
    row.section = Section::invite;
    ck_assert_int_eq(at(R"({"is_encrypted":true})"), 9);
}
END_TEST

START_TEST(parameters_are_checked) {
    assert_text(refusal("[]"), "M_BAD_JSON room_list: expected an object");
    assert_text(refusal(R"({"spaces":"!a"})"), "M_BAD_JSON room_list.spaces: expected an array");
    assert_text(refusal(R"({"spaces":[1]})"), "M_BAD_JSON room_list.spaces: expected an array of strings");
    assert_text(refusal(R"({"filters":[]})"), "M_BAD_JSON room_list.filters: expected an object");
    assert_text(refusal(R"({"filters":{"is_dm":1}})"), "M_BAD_JSON room_list.filters.is_dm: expected a boolean");
    assert_text(refusal(R"({"filters":{"tags":[null]}})"), "M_BAD_JSON room_list.filters.tags: expected an array of strings");
    assert_text(refusal(R"({"filters":{"room_types":[1]}})"),
                "M_BAD_JSON room_list.filters.room_types: expected an array of strings or null");
    assert_text(refusal(R"({"filters":{"room_name_like":[]}})"), "M_BAD_JSON room_list.filters.room_name_like: expected a string");
    assert_text(refusal(R"({"timeline_limit":-1})"), "M_BAD_JSON room_list.timeline_limit: expected at least 0");
    assert_text(refusal(R"({"p":{"limit":0}})"), "M_BAD_JSON room_list.p.limit: expected at least 1");
    assert_text(refusal(R"({"p":{"sort":{}}})"), "M_BAD_JSON room_list.p.sort: expected a string or an array of strings");
    assert_text(refusal(R"({"p":{"sort":["by_name",1]}})"), "M_BAD_JSON room_list.p.sort: expected a string or an array of strings");
    assert_text(refusal(R"({"required_state":[["m.room.name"]]})"),
                "M_BAD_JSON room_list.required_state: expected an array of [type, state_key]");
    auto pairs = [](std::size_t count) { return Json{{"required_state", Json(std::vector<Json>(count, Json{"m.room.name", ""}))}}.dump(); };
    assert_text(refusal(pairs(200)), "none");
    assert_text(refusal(pairs(201)), "M_BAD_JSON room_list.required_state: expected at most 200");
}
END_TEST

START_TEST(parameters_are_negotiated) {
    auto sort = [](const std::string& p, const std::string& more = "") {
        return terms(R"({"p":{)" + p + "}" + more + "}").used_sort.dump();
    };
    assert_text(sort(""), R"("by_recency")");
    assert_text(sort(R"("sort":"by_name")"), R"("by_name")");
    assert_text(sort(R"("sort":"by_magic")"), R"("by_recency")");
    assert_text(sort(R"("sort":["by_name"])"), R"(["by_name"])");
    assert_text(sort(R"("sort":["by_magic","by_name","by_recency"])"), R"(["by_recency","by_name"])");
    assert_text(sort(R"("sort":[])"), R"(["by_recency"])");
    assert_text(sort(R"("sort":"by_space_order")"), R"("by_recency")");
    assert_text(sort(R"("sort":["by_highlight_count","by_space_order"])"), R"(["by_highlight_count","by_recency"])");
    assert_text(sort(R"("sort":"by_space_order")", R"(,"spaces":["!s"])"), R"("by_space_order")");
    ck_assert_int_eq(terms("{}").limit, 20);
    ck_assert_int_eq(terms(R"({"p":{"limit":5000}})").limit, 1000);
    ck_assert_int_eq(terms("{}").timeline_limit, 1);
    ck_assert_int_eq(terms(R"({"timeline_limit":99})").timeline_limit, 50);
}
END_TEST

START_TEST(parameters_are_kept) {
    assert_text(terms(R"({"p":{"limit":20,"sort":"by_recency"},"timeline_limit":1,"filters":{},"spaces":[],"required_state":[],"x":1})")
                    .params.dump(),
                "{}");
    const std::string all =
        R"({"filters":{"is_dm":false,"room_types":[null,"m.space"],"tags":["u.x"]},"p":{"limit":3,"sort":["by_magic"]},)"
        R"("required_state":[["m.room.topic",""]],"spaces":["!s:hs"],"timeline_limit":0})";
    assert_text(terms(all).params.dump(), all);
    assert_text(terms(R"({"p":{"limit":3}})").snapshot_params(), "{}");
    assert_text(terms(R"({"p":{"limit":3,"sort":"by_name"}})").snapshot_params(), R"({"p":{"sort":"by_name"}})");
}
END_TEST

START_TEST(stripped_state) {
    const Stripped room = read_stripped(R"([
        {"type":"m.room.name","state_key":"","content":{"name":"Name"}}, 1, {"type":"m.room.name"},
        {"type":"m.room.name","state_key":"x","content":{"name":"no"}},
        {"type":"m.room.avatar","state_key":"","content":{"url":"mxc://a"}},
        {"type":"m.room.member","state_key":"@b:hs","sender":"@b:hs","content":{"membership":"join","displayname":"B"}},
        {"type":"m.room.member","state_key":"@a:hs","sender":"@a:hs","content":{"membership":"join","displayname":"A"}},
        {"type":"m.room.member","state_key":"@me:hs","sender":"@a:hs","content":{"membership":"invite"}}])",
                                        UserId{"@me:hs"});
    assert_text(room.name.value(), "Name");
    assert_text(room.avatar_url.value(), "mxc://a");
    assert_text(room.inviter.value, "@a:hs");
    ck_assert_uint_eq(room.people.size(), 2);
    assert_text(room.people[0].displayname.value(), "A");
    ck_assert(!room.encrypted && !room.type);
    ck_assert(read_stripped("", UserId{"@me:hs"}).people.empty());
    ck_assert(read_stripped("{}", UserId{"@me:hs"}).people.empty());
}
END_TEST

RoomView view(RoomWorld& world, const std::string& id) {
    return world.run(view_rooms(world.reading, {world.row(id)})).front();
}

std::string heroes(const RoomView& view) {
    std::string all;
    for (const Hero& hero : view.heroes) all += hero.user.value + "=" + hero.displayname.value_or("-") + " ";
    return all;
}

void summary(RoomWorld& world, const std::string& id, const std::string& text) {
    Told told;
    told.also = [&](RoomRow& row, Position seq) {
        row.summary = text;
        row.summary_changed = seq;
    };
    world.tell(id, told);
}

START_TEST(views_of_joined_rooms) {
    RoomWorld world;
    world.member("!a:hs", "@alice:hs", "Alice");
    summary(world, "!a:hs", R"({"m.heroes":["@alice:hs","@bob:hs"],"m.joined_member_count":3,"m.invited_member_count":1})");
    assert_text(view(world, "!a:hs").name, "Alice, @bob:hs and 1 other");
    assert_text(heroes(view(world, "!a:hs")), "@alice:hs=Alice @bob:hs=- ");
    ck_assert_int_eq(view(world, "!a:hs").joined, 3);
    ck_assert_int_eq(view(world, "!a:hs").invited, 1);

    Told told;
    told.state = {{{"m.room.canonical_alias", ""}, R"({"alias":"#alias:hs"})"},
                  {{"m.room.avatar", ""}, R"({"url":"mxc://pic"})"},
                  {{"m.room.encryption", ""}, "{}"}};
    world.tell("!a:hs", told);
    const RoomView now = view(world, "!a:hs");
    assert_text(now.name, "#alias:hs");
    assert_text(now.avatar_url, "mxc://pic");
    ck_assert(now.encrypted);
    assert_text(heroes(now), "@alice:hs=Alice @bob:hs=- ");
    world.name("!a:hs", "The NAME");
    assert_text(view(world, "!a:hs").name, "The NAME");
    assert_text(view(world, "!a:hs").sort_name, "the name");

    summary(world, "!gone:hs", R"({"m.heroes":["@carl:hs"],"m.joined_member_count":1,"m.invited_member_count":0})");
    world.member("!gone:hs", "@carl:hs", "Carl", Membership::leave);
    assert_text(view(world, "!gone:hs").name, "Empty Room (was Carl)");

    // As it was before the room had a name that it has lost.
    world.store.known_people[world.row("!gone:hs").key] = {world.row("!gone:hs").key, 3, 0, {UserId{"@alice:hs"}}};
    world.member("!gone:hs", "@alice:hs", "Alice");
    summary(world, "!gone:hs", R"({"m.heroes":["@carl:hs"],"m.joined_member_count":3,"m.invited_member_count":0})");
    assert_text(view(world, "!gone:hs").name, "Alice and 1 other");
    assert_text(heroes(view(world, "!gone:hs")), "@alice:hs=Alice ");
}
END_TEST

START_TEST(views_without_a_summary) {
    RoomWorld world;
    world.message("!a:hs");
    assert_text(view(world, "!a:hs").name, "Empty Room");
    world.store.known_people[world.row("!a:hs").key] = {world.row("!a:hs").key, 2, 1, {UserId{"@alice:hs"}}};
    world.member("!a:hs", "@alice:hs", "Alice");
    summary(world, "!a:hs", "{}");
    assert_text(view(world, "!a:hs").name, "Alice and 1 other");
    ck_assert_int_eq(view(world, "!a:hs").joined, 2);
}
END_TEST

/// Whoever looks at one room, and at no list, sees it without asking again what it is called, until that may have changed.
START_TEST(views_are_kept) {
    RoomWorld world;
    const RoomId room{"!a:hs"};
    world.member("!a:hs", "@alice:hs", "Alice");
    world.message("!a:hs");
    world.store.known_people[world.row("!a:hs").key] = {world.row("!a:hs").key, 2, 0, {UserId{"@alice:hs"}}};
    auto asked = [&] {
        world.run(world.device.room(room));
        const int before = world.store.queries;
        assert_text(view(world, "!a:hs").name, "Alice");
        return world.store.queries - before;
    };
    ck_assert_int_gt(asked(), 0);
    ck_assert_int_eq(asked(), 0);
    world.message("!a:hs");
    ck_assert_int_eq(asked(), 0);
    Told moved;
    moved.members = true;
    world.tell("!a:hs", moved);
    ck_assert_int_gt(asked(), 0);
    ck_assert_int_eq(asked(), 0);
    // What a fetched list says of members is in no log.
    world.member("!a:hs", "@alice:hs", "Alicia");
    ck_assert_int_eq(asked(), 0);
    world.device.views().doubt(RoomKey{77});
    ck_assert_int_eq(asked(), 0);
    world.device.views().doubt(world.row("!a:hs").key);
    const int before = world.store.queries;
    for (int again = 0; again < 2; ++again) assert_text(view(world, "!a:hs").name, "Alicia");
    ck_assert_int_eq(world.store.queries - before, 2);
}
END_TEST

/// A list that is fetched while a view is being made may be newer than what that is made of.
START_TEST(what_was_being_made_when_members_were_fetched_is_not_kept) {
    RoomWorld world;
    const RoomId room{"!a:hs"};
    world.member("!a:hs", "@alice:hs", "Alice");
    world.message("!a:hs");
    world.store.known_people[world.row("!a:hs").key] = {world.row("!a:hs").key, 2, 0, {UserId{"@alice:hs"}}};
    world.run(world.device.room(room));
    world.store.read_members = [&] { world.device.views().doubt(world.row("!a:hs").key); };
    assert_text(view(world, "!a:hs").name, "Alice");
    world.store.read_members = [] {};
    world.member("!a:hs", "@alice:hs", "Alicia");
    assert_text(view(world, "!a:hs").name, "Alicia");
}
END_TEST

/// The room's row is read after the redaction, and the log that tells of it has not come yet.
START_TEST(a_row_ahead_of_the_log_shows_nothing_redacted) {
    for (const char* how : {"one", "all", "news"}) {
        RoomWorld world;
        world.name("!a:hs", "Secret");
        assert_text(view(world, "!a:hs").name, "Secret");
        RoomRow& row = world.row("!a:hs");
        RoomWorld::Follower follower(world);
        if (how == std::string("news")) world.run(follower.device.room(row.room));
        const Position before = world.end();
        row.seq = row.state_changed = row.members = Position{before.value + 2};
        world.store.stored[row.heads.name].body = R"({"content":{}})";
        if (how == std::string("one")) world.run(follower.device.room(row.room));
        if (how == std::string("all")) world.run(follower.device.load_rooms());
        if (how == std::string("news")) {
            News news;
            news.from = before;
            news.to = Position{before.value + 1};
            news.rooms.push_back(row);
            follower.device.apply(std::move(news));
        }
        assert_text(world.run(view_rooms(follower.reading, {row})).front().name, "Empty Room");
    }
}
END_TEST

START_TEST(views_of_invites) {
    RoomWorld world;
    world.invite("!a:hs", "@alice:hs");
    assert_text(view(world, "!a:hs").name, "@alice:hs");
    assert_text(view(world, "!a:hs").inviter.value, "@alice:hs");
    world.invite(
        "!a:hs", "@alice:hs",
        Json::parse(R"([{"type":"m.room.member","state_key":"@alice:hs","content":{"membership":"join","displayname":"Alice"}}])"));
    assert_text(view(world, "!a:hs").name, "Alice");
    assert_text(heroes(view(world, "!a:hs")), "@alice:hs=Alice ");
    world.invite("!a:hs", "@alice:hs", Json::parse(R"([{"type":"m.room.name","state_key":"","content":{"name":"Party"}}])"));
    assert_text(view(world, "!a:hs").name, "Party");
    ck_assert_int_eq(view(world, "!a:hs").joined, 0);
}
END_TEST

}  // namespace

MATRIX_SYNC_SUITE("room_looks", sorts, filters, what_filters_look_at, parameters_are_checked, parameters_are_negotiated,
                  parameters_are_kept, stripped_state, views_of_joined_rooms, views_without_a_summary, views_are_kept,
                  what_was_being_made_when_members_were_fetched_is_not_kept, a_row_ahead_of_the_log_shows_nothing_redacted,
                  views_of_invites)
