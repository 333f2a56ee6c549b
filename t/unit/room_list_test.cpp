// The room list: pages, deltas, names, spaces.
#include "matrix_sync/error.hpp"
#include "room_world.hpp"
#include "world.hpp"
// Last, because of Check's macros.
#include "assert_text.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

std::unique_ptr<Stream> list(const std::string& params) {
    return parse_room_list(Json::parse(params));
}

/// What a stream said: rooms by their IDs, `-` behind those that are listed no more, the membership behind those not joined.
struct Said {
    Cursor cursor;
    Json json;

    std::string rooms() const {
        std::string all;
        if (json.is_null()) return "silence";
        for (const Json& room : json["rooms"]) {
            std::string id = room["room_id"];
            if (room.contains("listed")) id += "-";
            if (room.contains("membership") && room["membership"] != "join") id += ":" + room["membership"].get<std::string>();
            all += (all.empty() ? "" : " ") + id.substr(1);
        }
        return all;
    }
    std::string next() const { return json["p"].value("next", "none"); }
};

struct Client {
    explicit Client(RoomWorld& of, const std::string& params = "{}") : world(of), stream(list(params)) {}

    RoomWorld& world;
    std::unique_ptr<Stream> stream;
    Cursor cursor;

    Said ask(Show show) {
        std::string out;
        Said said;
        said.cursor = world.run(stream->read(world.reading, cursor, show, out));
        if (!out.empty()) said.json = Json::parse(out);
        cursor = said.cursor;
        return said;
    }
    Said first() { return ask(Show::first_page); }
    std::string news() { return ask(Show::deltas).rooms(); }
    bool wakes() const { return stream->has_news(world.device, cursor, Show::deltas); }
    Said page(const std::string& token) {
        std::string out;
        world.run(stream->read_page(world.reading, token, out));
        return {{}, Json::parse(out)};
    }
    std::string refused(const std::string& token) {
        try {
            return page(token).rooms();
        } catch (const MatrixError& error) {
            return error.errcode;
        }
    }
};

START_TEST(a_room) {
    RoomWorld world;
    Told told;
    told.state = {{{"m.room.name", ""}, R"({"name":"Name"})"},
                  {{"m.room.topic", ""}, R"({"topic":"T"})"},
                  {{"m.room.avatar", ""}, R"({"url":"mxc://pic"})"}};
    told.also = [](RoomRow& row, Position seq) {
        row.summary = R"({"m.heroes":["@alice:hs"],"m.joined_member_count":2,"m.invited_member_count":0})";
        row.summary_changed = seq;
        row.notifications = R"({"highlight_count":1,"notification_count":2})";
        row.thread_notifications = R"({"$t":{"highlight_count":0,"notification_count":3}})";
        row.tags = R"({"m.favourite":{"order":0.1}})";
        row.direct = row.marked_unread = true;
        row.type = "m.space";
    };
    world.member("!a:hs", "@alice:hs", "Alice");
    world.tell("!a:hs", told);
    Json room = Client(world, R"({"required_state":[["m.room.topic",""]],"timeline_limit":2})").first().json["rooms"][0];
    Json topic = room["state_after"]["events"];
    ck_assert_uint_eq(topic.size(), 1);
    assert_text(topic[0]["content"]["topic"], "T");
    ck_assert_uint_eq(room["timeline"]["events"].size(), 2);
    ck_assert(room["timeline"]["limited"].get<bool>());
    ck_assert(room["timeline"].contains("prev_batch"));
    room.erase("state_after");
    room.erase("timeline");
    assert_text(
        room.dump(),
        R"({"avatar_url":"mxc://pic","heroes":[{"displayname":"Alice","user_id":"@alice:hs"}],"highlight_count":1,"invited_count":0,)"
        R"("is_dm":true,"is_encrypted":false,"joined_count":2,"marked_unread":true,"membership":"join","name":"Name",)"
        R"("notification_count":5,"room_id":"!a:hs","room_type":"m.space","tags":{"m.favourite":{"order":0.1}},"timestamp":1})");

    world.invite("!i:hs", "@bob:hs");
    Json invite = Client(world).first().json["rooms"][0];
    ck_assert_uint_eq(invite["invite_state"]["events"].size(), 1);
    for (const char* not_there : {"joined_count", "invited_count", "state_after", "timeline", "knock_state", "room_type", "avatar_url"}) {
        ck_assert_msg(!invite.contains(not_there), "%s", not_there);
    }
    assert_text(invite["membership"], "invite");
}
END_TEST

START_TEST(what_is_kept_of_a_timeline_and_pruned_is_read_anew) {
    RoomWorld world;
    world.name("!a:hs", "A");
    world.message("!a:hs", "one");
    world.message("!a:hs", "two");
    auto bodies = [&] {
        const Json room = Client(world, R"({"timeline_limit":3})").first().json["rooms"][0];
        std::string all;
        for (const Json& event : room["timeline"]["events"]) all += event["content"].value("body", "-") + " ";
        return all;
    };
    assert_text(bodies(), "- one two ");
    const int queries = world.store.queries;
    assert_text(bodies(), "- one two ");
    ck_assert_int_eq(world.store.queries, queries);

    std::vector<Entry>& log = world.store.log[world.row("!a:hs").key];
    world.store.stored.erase(log[1].events[0]);
    log.erase(log.begin(), log.begin() + 2);
    log[0].gap = true;
    world.cache.clear();
    assert_text(bodies(), "two ");
}
END_TEST

START_TEST(pages) {
    RoomWorld world;
    for (const char* id : {"!a", "!b", "!c", "!d", "!e"}) world.message(id);
    Client client(world, R"({"p":{"limit":2}})");
    Said first = client.first();
    assert_text(first.rooms(), "e d");
    assert_text(first.json["p"].dump(), R"({"count":5,"limit":2,"next":"1_2","sort":"by_recency"})");
    ck_assert(first.cursor == (Cursor{world.end(), 0, true}));

    world.message("!a");
    world.leave("!c", true);
    Said second = client.page(first.next());
    assert_text(second.rooms(), "c:ban b");
    ck_assert_uint_eq(second.json["rooms"][0].size(), 2);
    Said third = client.page(second.next());
    assert_text(third.rooms(), "a");
    assert_text(third.json["p"].dump(), R"({"count":5,"limit":2,"sort":"by_recency"})");
    assert_text(Client(world, R"({"p":{"limit":9}})").page(first.next()).rooms(), "c:ban b a");

    for (const char* token : {"", "1", "1_", "1_0", "1_5", "2_2", "01_2", "1_2 ", "4294967297_2", "x"}) {
        assert_text(client.refused(token), "M_INVALID_PARAM");
    }
    assert_text(Client(world, R"({"timeline_limit":3})").refused(first.next()), "M_INVALID_PARAM");
}
END_TEST

START_TEST(an_empty_list_is_a_page) {
    RoomWorld world;
    Said first = Client(world).first();
    assert_text(first.json.dump(), R"({"p":{"count":0,"limit":20,"sort":"by_recency"},"rooms":[]})");
}
END_TEST

START_TEST(a_page_ends_at_its_bytes) {
    RoomWorld world;
    const std::string large(400 * 1024, 'x');
    for (const char* id : {"!a", "!b", "!c", "!d"}) world.message(id, large);
    Client client(world);
    Said first = client.first();
    assert_text(first.rooms(), "d c b");
    assert_text(client.page(first.next()).rooms(), "a");
    client.cursor = {};
    assert_text(client.news(), "a b c");
    assert_text(client.news(), "d");
    assert_text(client.news(), "silence");
}
END_TEST

START_TEST(sorted_by_name) {
    RoomWorld world;
    world.name("!a", "zoo");
    world.name("!b", "Beta");
    world.name("!c", "alpha");
    Client client(world, R"({"p":{"sort":"by_name"}})");
    assert_text(client.first().rooms(), "c b a");
    world.name("!a", "AAA");
    assert_text(client.first().rooms(), "a c b");
}
END_TEST

START_TEST(names_cost_what_has_changed) {
    RoomWorld world;
    for (int i = 0; i < 3000; ++i) world.name("!" + std::to_string(i), "room " + std::to_string(i));
    Client client(world, R"({"p":{"sort":"by_name","limit":1},"timeline_limit":0})");
    client.first();
    ck_assert_int_le(world.store.queries, 20);
    world.store.queries = 0;
    client.first();
    ck_assert_int_eq(world.store.queries, 0);
    world.name("!7", "a room");
    assert_text(client.first().rooms(), "7");
    ck_assert_int_le(world.store.queries, 2);
}
END_TEST

START_TEST(deltas) {
    RoomWorld world;
    for (const char* id : {"!a", "!b", "!c"}) world.message(id);
    Client client(world, R"({"p":{"limit":2}})");
    client.first();
    ck_assert(!client.wakes());
    assert_text(client.news(), "silence");
    world.message("!c");
    world.message("!a");
    world.message("!c");
    world.message("!b");
    ck_assert(client.wakes());
    Said two = client.ask(Show::deltas);
    assert_text(two.rooms(), "a c");
    ck_assert(!two.json.contains("p"));
    ck_assert(!two.cursor.paged);
    ck_assert(client.wakes());
    world.message("!a");
    assert_text(client.news(), "b a");
    assert_text(client.news(), "silence");
    ck_assert(!client.wakes());
}
END_TEST

START_TEST(a_first_page_waits_for_a_change) {
    RoomWorld world;
    world.message("!a");
    world.message("!b");
    Client client(world, R"({"filters":{"is_dm":false}})");
    client.first();
    assert_text(client.ask(Show::changed_first_page).rooms(), "silence");
    ck_assert(client.cursor.paged);
    Told chat;
    chat.also = [](RoomRow& row, Position seq) {
        row.direct = true;
        row.direct_changed = seq;
    };
    world.tell("!new", chat);
    assert_text(client.ask(Show::changed_first_page).rooms(), "silence");
    ck_assert(client.cursor == (Cursor{world.end(), 0, true}));
    world.tell("!a", chat);
    assert_text(client.ask(Show::changed_first_page).rooms(), "b");
}
END_TEST

START_TEST(rooms_that_match_no_more) {
    RoomWorld world;
    world.message("!a");
    world.message("!b");
    Client chats(world, R"({"filters":{"is_dm":false}})");
    chats.first();
    world.message("!b");
    Told chat;
    chat.also = [](RoomRow& row, Position seq) {
        row.direct = true;
        row.direct_changed = seq;
    };
    world.tell("!a", chat);
    const Position turned = world.end();
    world.message("!a");
    Said said = chats.ask(Show::deltas);
    assert_text(said.rooms(), "b a-");
    assert_text(said.json["rooms"][1].dump(), R"({"listed":false,"room_id":"!a"})");
    world.message("!a");
    assert_text(chats.news(), "silence");

    // By a limit, what is said of a room that matches no more does not wait for what came to it later.
    Client one(world, R"({"filters":{"is_dm":false},"p":{"limit":1}})");
    assert_text(one.news(), "b");
    assert_text(one.news(), "a-");
    ck_assert(one.cursor.at >= turned);

    // A room that was never seen is not listed, and nothing is said of it.
    world.tell("!new", chat);
    assert_text(chats.news(), "silence");

    Client named(world, R"({"filters":{"room_name_like":"x"}})");
    named.first();
    world.name("!b", "xyz");
    assert_text(named.news(), "b");
    world.name("!b", "abc");
    assert_text(named.news(), "b-");
    world.message("!b");
    assert_text(named.news(), "silence");

    // Nor does one whose name was taken away, and that is called by its members since.
    Told nameless;
    nameless.state = {{{"m.room.name", ""}, "{}"}};
    nameless.members = true;
    nameless.also = [](RoomRow& row, Position seq) {
        row.summary = R"({"m.heroes":["@xavier:hs"],"m.joined_member_count":2,"m.invited_member_count":0})";
        row.summary_changed = seq;
    };
    world.tell("!b", nameless);
    assert_text(named.news(), "b");
    nameless.also = [](RoomRow& row, Position seq) {
        row.summary = R"({"m.heroes":["@yves:hs"],"m.joined_member_count":2,"m.invited_member_count":0})";
        row.summary_changed = seq;
    };
    nameless.state.clear();
    world.tell("!b", nameless);
    assert_text(named.news(), "b-");
}
END_TEST

START_TEST(left_rooms_come_once) {
    RoomWorld world;
    world.message("!a");
    world.message("!b");
    world.invite("!i", "@bob:hs", Json::parse(R"([{"type":"m.room.name","state_key":"","content":{"name":"Party"}}])"));
    Client client(world, R"({"timeline_limit":5})");
    Client late = Client(world);
    client.first();
    world.message("!a", "before");
    world.leave("!a");
    world.leave("!b", true);
    world.leave("!i");
    Said said = client.ask(Show::deltas);
    assert_text(said.rooms(), "a:leave b:ban i:leave");
    ck_assert_uint_eq(said.json["rooms"][0]["timeline"]["events"].size(), 2);
    assert_text(said.json["rooms"][2]["name"], "Party");
    ck_assert(!said.json["rooms"][2].contains("joined_count"));
    assert_text(client.news(), "silence");
    Told account_data;
    account_data.section = Section::leave;
    account_data.also = [](RoomRow& row, Position seq) { row.tags_changed = seq; };
    world.tell("!a", account_data);
    assert_text(client.news(), "silence");
    assert_text(late.first().rooms(), "");
    late.cursor = {};
    assert_text(late.news(), "silence");

    // Entered and left since: it was never seen.
    world.message("!new");
    world.leave("!new");
    assert_text(client.news(), "silence");
    world.message("!a");
    assert_text(client.news(), "a");
    world.leave("!a");
    assert_text(client.news(), "a:leave");
    world.message("!a");
    world.leave("!a");
    assert_text(client.news(), "a-");
}
END_TEST

START_TEST(left_rooms_that_did_not_match) {
    RoomWorld world;
    world.message("!a");
    Told chat;
    chat.also = [](RoomRow& row, Position seq) {
        row.direct = true;
        row.direct_changed = seq;
    };
    world.tell("!chat", chat);
    Client chats(world, R"({"filters":{"is_dm":true}})");
    Client invites(world, R"({"filters":{"is_invite":true}})");
    world.invite("!i", "@bob:hs");
    chats.first();
    assert_text(invites.first().rooms(), "i:invite");
    world.leave("!a");
    world.leave("!chat");
    world.leave("!i");
    assert_text(chats.news(), "chat:leave");
    assert_text(invites.news(), "i:leave");
}
END_TEST

START_TEST(invites_of_ignored_users) {
    RoomWorld world;
    world.ignore(R"({"content":{"ignored_users":{"@bad:hs":{}}}})");
    Client client(world);
    client.first();
    world.invite("!bad", "@bad:hs");
    world.invite("!good", "@good:hs");
    assert_text(client.news(), "good:invite");
    assert_text(client.first().rooms(), "good:invite");
    world.leave("!bad");
    assert_text(client.news(), "silence");
    world.ignore(R"({"content":{"ignored_users":{"@bad:hs":{},"@good:hs":{}}}})");
    // The ingest moves invites when the list changes.
    Told same;
    same.section = Section::invite;
    world.tell("!good", same);
    assert_text(client.news(), "good-");
    assert_text(client.first().rooms(), "");
}
END_TEST

/// A space with some of the rooms a to f, joined, that lists `children`.
struct SpaceWorld : RoomWorld {
    SpaceWorld() {
        for (const char* id : {"!a", "!b", "!c", "!d", "!e", "!f"}) message(id);
        Told space;
        child(space, "!c");
        child(space, "!b", "z");
        child(space, "!a", "zz");
        child(space, "!unknown");
        tell("!s", space);
    }
};

START_TEST(spaces) {
    SpaceWorld world;
    Client client(world, R"({"spaces":["!s"],"p":{"sort":"by_space_order"}})");
    assert_text(client.first().rooms(), "b a c");
    world.message("!d");
    assert_text(client.news(), "silence");

    Told told;
    world.child(told, "!d", "a");
    told.state.push_back({{"m.space.child", "!b"}, R"({"via":[]})"});
    world.tell("!s", told);
    assert_text(client.news(), "b- d");
    assert_text(client.first().rooms(), "d a c");
    assert_text(client.news(), "silence");

    // A redaction takes the order and the room away, and no set changes.
    const EventRef ref = world.store.sets[world.row("!s").state].at({"m.space.child", "!a"});
    world.store.stored[ref].body = R"({"type":"m.space.child","state_key":"!a","content":{}})";
    Told redaction;
    redaction.redacts = true;
    world.tell("!s", redaction);
    std::string said = client.news();
    ck_assert_msg(said.find("a-") != said.npos, "%s", said.c_str());
    assert_text(client.first().rooms(), "d c");

    world.leave("!s");
    assert_text(client.news(), "c- d-");
    assert_text(client.first().rooms(), "");
    world.message("!s");
    assert_text(client.news(), "c d");
}
END_TEST

START_TEST(spaces_in_turn) {
    SpaceWorld world;
    Told second;
    world.child(second, "!a");
    world.child(second, "!d");
    world.tell("!t", second);
    Client client(world, R"({"spaces":["!nothing","!t","!s"],"p":{"sort":"by_space_order"}})");
    assert_text(client.first().rooms(), "a d b c");
}
END_TEST

START_TEST(a_limit_within_one_change_of_a_space) {
    SpaceWorld world;
    Client client(world, R"({"spaces":["!s"],"p":{"limit":2}})");
    client.first();
    Told told;
    for (const char* id : {"!d", "!e", "!f"}) world.child(told, id);
    told.state.push_back({{"m.space.child", "!a"}, ""});
    world.tell("!s", told);
    assert_text(client.news(), "a- d");
    ck_assert_int_gt(client.cursor.within, 0);
    ck_assert(client.wakes());
    // One that was sent, and one that was not, change again meanwhile.
    world.message("!d");
    world.message("!f");
    std::string rest;
    while (client.wakes()) rest += client.news() + " ";
    assert_text(rest, "e d f ");
}
END_TEST

START_TEST(changes_of_a_space_behind_a_limit) {
    SpaceWorld world;
    Client client(world, R"({"spaces":["!s"],"p":{"limit":1}})");
    client.first();
    Told come;
    world.child(come, "!d");
    world.tell("!s", come);
    world.message("!b");
    Told other;
    world.child(other, "!e");
    world.tell("!s", other);
    assert_text(client.news(), "d");
    assert_text(client.news(), "b");
    assert_text(client.news(), "e");
    assert_text(client.news(), "silence");
}
END_TEST

/// Whatever changes between them, requests with a limit tell of every room what one without would: the rooms that are missing in the end,
/// or too many.
std::string what_limits_lose(world::Chance& chance) {
    RoomWorld world;
    const std::vector<std::string> ids = {"!a", "!b", "!c", "!d", "!e", "!f", "!g"};
    for (const std::string& id : ids) world.message(id);
    Told space;
    world.child(space, "!a");
    world.child(space, "!b");
    world.tell("!s", space);
    Client client(world, R"({"spaces":["!s"],"filters":{"is_dm":false},"p":{"limit":2}})");
    std::set<std::string> shown;
    auto take = [&](const Said& said) {
        if (said.json.is_null()) return;
        ck_assert_uint_le(said.json["rooms"].size(), 2);
        for (const Json& room : said.json["rooms"]) {
            const std::string id = room["room_id"];
            shown.erase(id);
            if (!room.contains("listed") && room["membership"] == "join") shown.insert(id);
        }
    };
    take(client.first());
    for (int step = 0; step < 40; ++step) {
        const std::string id = chance.one_of(ids);
        Told told;
        switch (chance.below(6)) {
            case 0:
                world.message(id);
                break;
            case 1:
                for (const std::string& room : ids) {
                    if (chance.of(0.5)) {
                        world.child(told, room);
                    } else {
                        told.state.push_back({{"m.space.child", room}, ""});
                    }
                }
                world.tell("!s", told);
                break;
            case 2:
                told.also = [](RoomRow& row, Position seq) {
                    row.direct = !row.direct;
                    row.direct_changed = seq;
                };
                world.tell(id, told);
                break;
            case 3:
                if (world.row(id).section == Section::join) world.leave(id);
                break;
            default:
                take(client.ask(Show::deltas));
        }
    }
    for (int left = 100; client.wakes() && left > 0; --left) take(client.ask(Show::deltas));
    ck_assert(!client.wakes());
    const Said all = Client(world, R"({"spaces":["!s"],"filters":{"is_dm":false}})").first();
    std::string difference;
    for (const Json& room : all.json["rooms"]) {
        const std::string id = room["room_id"];
        if (shown.erase(id) == 0) difference += " lacks " + id;
    }
    for (const std::string& id : shown) difference += " still has " + id;
    return difference;
}

START_TEST(limits_lose_nothing) {
    for (std::uint64_t run = 0; run < world::runs(300); ++run) {
        world::Chance chance(world::seed() + run);
        const std::string difference = what_limits_lose(chance);
        ck_assert_msg(difference.empty(), "seed %llu:%s", static_cast<unsigned long long>(world::seed() + run), difference.c_str());
    }
}
END_TEST

START_TEST(a_worker_that_has_just_started) {
    RoomWorld world;
    for (const char* id : {"!a", "!b", "!c"}) world.message(id);
    Client client(world);
    client.first();
    world.message("!b");
    world.leave("!c");
    DeviceRow row{DeviceKey{1}, UserId{"@me:hs"}, DeviceId{"D"}, {}, world.end(), true};
    Device other(world.loop, world.logs, world.store, world.cache, world.budget, row);
    Reading reading{world.loop, world.store, world.cache, world.lists, other, world.credential, SessionId{"session"}};
    ck_assert(client.stream->has_news(other, client.cursor, Show::deltas));
    std::string out;
    Cursor cursor = world.run(client.stream->read(reading, client.cursor, Show::deltas, out));
    assert_text((Said{cursor, Json::parse(out)}.rooms()), "b c:leave");
    ck_assert(!client.stream->has_news(other, cursor, Show::deltas));
}
END_TEST

START_TEST(a_room_that_is_known_by_another_key) {
    RoomWorld world;
    for (const char* id : {"!a", "!b"}) world.message(id);
    assert_text(Client(world).first().rooms(), "b a");
    world.leave("!a");
    // Nobody had it any more, and it was pruned.
    auto row = world.store.rows.extract(world.row("!a").key);
    row.key() = row.mapped().key = RoomKey{99};
    row.mapped().state = {};
    world.store.rows.insert(std::move(row));
    world.message("!a");
    assert_text(Client(world).first().rooms(), "a b");
    assert_text(Client(world, R"({"p":{"sort":"by_name"}})").first().rooms(), "a b");
}
END_TEST

/// The list of a worker that has just started, and sorts everything.
std::string sorted_anew(RoomWorld& world, const std::string& params) {
    DeviceRow row{DeviceKey{1}, UserId{"@me:hs"}, DeviceId{"D"}, {}, world.end(), true};
    Device other(world.loop, world.logs, world.store, world.cache, world.budget, row);
    Reading reading{world.loop, world.store, world.cache, world.lists, other, world.credential, SessionId{"session"}};
    Client client(world, params);
    std::string out;
    world.run(client.stream->read(reading, {}, Show::first_page, out));
    return Said{{}, Json::parse(out)}.rooms();
}

void change_at_random(RoomWorld& world, world::Chance& chance, const std::string& id) {
    Told told;
    switch (chance.below(6)) {
        case 0:
            world.message(id);
            break;
        case 1:
            world.name(id, "a name that has its own memory, " + std::to_string(chance.below(5)));
            break;
        case 2:
            world.leave(id);
            break;
        case 3:
            world.invite(id, "@bob:hs");
            break;
        case 4:
            world.member(id, "@hero" + std::to_string(chance.below(3)) + ":hs", std::string(1, static_cast<char>('a' + chance.below(5))));
            break;
        default:
            told.also = [counts = chance.below(3)](RoomRow& row, Position) {
                row.notifications = R"({"highlight_count":1,"notification_count":)" + std::to_string(counts) + "}";
            };
            world.tell(id, told);
    }
}

START_TEST(orders_are_kept) {
    const std::vector<std::string> sorts = {R"("by_recency")", R"("by_name")", R"(["by_notification_count","by_name"])",
                                            R"(["by_highlight_count","by_recency"])", R"(["by_name","by_recency"])"};
    for (std::uint64_t run = 0; run < world::runs(20); ++run) {
        world::Chance chance(world::seed() + run);
        RoomWorld world;
        std::vector<std::string> ids;
        const std::size_t count = chance.one_of<std::size_t>({5, 100});
        for (std::size_t i = 0; i < count; ++i) ids.push_back("!" + std::to_string(i));
        for (const std::string& id : ids) world.message(id);
        for (int step = 0; step < 20; ++step) {
            for (std::size_t changes = chance.one_of<std::size_t>({1, 3, 80}); changes > 0; --changes) {
                change_at_random(world, chance, chance.one_of(ids));
            }
            const std::string params = R"({"p":{"limit":1000,"sort":)" + chance.one_of(sorts) + "}}";
            assert_text(Client(world, params).first().rooms(), sorted_anew(world, params));
        }
    }
}
END_TEST

}  // namespace

MATRIX_SYNC_SUITE("room_list", a_room, what_is_kept_of_a_timeline_and_pruned_is_read_anew, pages, an_empty_list_is_a_page,
                  a_page_ends_at_its_bytes, sorted_by_name, names_cost_what_has_changed, deltas, a_first_page_waits_for_a_change,
                  rooms_that_match_no_more, left_rooms_come_once, left_rooms_that_did_not_match, invites_of_ignored_users, spaces,
                  spaces_in_turn, a_limit_within_one_change_of_a_space, changes_of_a_space_behind_a_limit, limits_lose_nothing,
                  a_worker_that_has_just_started, orders_are_kept, a_room_that_is_known_by_another_key)
