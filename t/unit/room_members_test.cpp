// room_members on a real PostgreSQL: what polls bring, as pages and as deltas.
#include <random>

#include "core/matrix/content.hpp"
#include "core/streams/member_pages.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"
#include "fake_homeserver.hpp"
#include "log_storage.hpp"
#include "member_storage.hpp"
#include "storage/sessions.hpp"
// Last, because of Check's macros.
#include "suite.hpp"

using namespace matrix_sync;

namespace {

constexpr const char* kTarget = "/_matrix/client/v3/rooms/%21r%3Aw/members";
const std::string kMe = "@me:w";

struct World : Storage {
    World() {
        homeserver = std::make_shared<FakeHomeserver>();
        credential.homeserver = homeserver;
        auto opened = complete(sessions.open(me.key, "{}", {}, {}, 10));
        reading.session = opened.id;
    }

    /// The next poll; all of its rooms.
    void poll(std::vector<RoomPart> parts) {
        auto next = piece(lease, whole ? std::optional<std::string>("since") : std::nullopt, std::move(parts));
        next.asked = loop.now();
        whole = true;
        me.apply(ingest(*this, std::move(next)).news);
    }
    void poll(RoomPart told) { poll(one(std::move(told))); }
    /// Timeline events of `!r:w`, as they come after what is known.
    void tell(std::vector<Event> events) { poll(part("!r:w", std::move(events))); }
    void join(std::vector<Event> timeline = {}, std::vector<Event> more_state = {}) {
        RoomPart first = first_part("!r:w", std::move(timeline));
        for (Event& event : more_state) first.state.push_back(std::move(event));
        poll(std::move(first));
    }
    void leave(std::vector<Event> timeline) { poll(part("!r:w", std::move(timeline), {}, Section::leave)); }
    void members(const std::vector<Event>& events) {
        std::string chunk;
        for (const Event& event : events) chunk += (chunk.empty() ? "" : ",") + event.body;
        homeserver->answers[kTarget] = {200, R"({"chunk":[)" + chunk + "]}"};
    }

    struct Shown {
        Cursor cursor;
        Json json;  ///< null: nothing was said
    };
    Shown read(const Json& params, Cursor cursor, Show show) {
        auto stream = parse_room_members(params);
        std::string out;
        Shown shown;
        shown.cursor = complete(
            stream->read(reading, cursor, show, out), [this] { loop.turn(); }, 100'000);
        if (!out.empty()) shown.json = Json::parse(out);
        return shown;
    }
    Json later(const Json& params, const std::string& token) {
        auto stream = parse_room_members(params);
        std::string out;
        complete(
            stream->read_page(reading, token, out), [this] { loop.turn(); }, 100'000);
        return out.empty() ? Json() : Json::parse(out);
    }
    bool news(const Json& params, Cursor cursor, Show show) { return parse_room_members(params)->has_news(me, cursor, show); }

    bool whole = false;
    Lease lease = device("D", kMe);
    CacheBudget budget{64 * 1024 * 1024};
    RoomCache cache{loop, rooms, budget};
    MemberLists lists{loop, rooms, budget, [](RoomKey) {}};
    PostgresSessions sessions{watched};
    Device me{loop, logs, rooms, cache, budget, complete(logs.device(UserId{kMe}, DeviceId{"D"}))};
    std::shared_ptr<FakeHomeserver> homeserver;
    Credential credential;
    Reading reading{loop, rooms, cache, lists, me, credential, {}};
};

Event power_levels(const std::string& id, const std::string& content) {
    Event event = matrix_sync::event(id, "m.room.power_levels", "");
    event.body = R"({"event_id":")" + id + R"(","type":"m.room.power_levels","state_key":"","sender":"@x:w","content":)" + content + "}";
    return event;
}

/// The users of events, in order.
std::string users(const Json& shown) {
    std::string text;
    for (const Json& event : shown.value("events", Json::array()))
        text += (text.empty() ? "" : " ") + event["state_key"].get<std::string>();
    return text;
}
std::string ids(const Json& shown) {
    std::string text;
    for (const Json& event : shown.value("events", Json::array())) text += (text.empty() ? "" : " ") + event["event_id"].get<std::string>();
    return text;
}

std::string refusal(const Json& params) {
    try {
        parse_room_members(params);
    } catch (const MatrixError& error) {
        return error.errcode + " " + error.what();
    }
    return "none";
}

const Json kRoom = {{"room_id", "!r:w"}};

Json with(Json params, const Json& more) {
    params.merge_patch(more);
    return params;
}

}  // namespace

START_TEST(parameters_are_checked_and_negotiated) {
    assert_text(refusal(Json::object()), "M_BAD_JSON room_members.room_id: missing");
    assert_text(refusal(with(kRoom, {{"membership", "join"}})), "M_BAD_JSON room_members.membership: expected an array");
    assert_text(refusal(with(kRoom, {{"membership", {"join", "lurk"}}})),
                "M_BAD_JSON room_members.membership: expected join, invite, knock, leave or ban");
    assert_text(refusal(with(kRoom, {{"p", {{"limit", 0}}}})), "M_BAD_JSON room_members.p.limit: expected at least 1");
    assert_text(refusal(with(kRoom, {{"p", {{"sort", 5}}}})), "M_BAD_JSON room_members.p.sort: expected a string");
    assert_text(refusal(with(kRoom, {{"p", 5}})), "M_BAD_JSON room_members.p: expected an object");

    auto params = [](const Json& given) { return parse_room_members(given)->params().dump(); };
    assert_text(params(with(kRoom, {{"membership", {"invite", "join"}}, {"p", {{"limit", 50}, {"sort", "by_shoe_size"}}}, {"x", 1}})),
                R"({"room_id":"!r:w"})");
    assert_text(params(with(kRoom, {{"membership", {"ban", "join", "ban"}}, {"p", {{"limit", 5000}, {"sort", "by_name"}}}})),
                R"({"membership":["join","ban"],"p":{"limit":1000,"sort":"by_name"},"room_id":"!r:w"})");
    auto one = parse_room_members(kRoom);
    ck_assert(one->continues(*parse_room_members(with(kRoom, {{"membership", {"ban"}}}))));
    ck_assert(!one->continues(*parse_room_members({{"room_id", "!s:w"}})));
    ck_assert(!one->shows_present());
    ck_assert(one->start(Position{7}) == Cursor{Position{7}});
}
END_TEST

START_TEST(a_first_page_is_in_order_of_power_then_name) {
    World world;
    world.join(
        {}, {power_levels("$pl", R"({"users_default":10,"users":{"@me:w":10,"@b:w":50,"@c:w":100,"@d:w":50,"@low:w":0,"@gone:w":100}})")});
    world.members({member_event("$1", kMe, "Zoe"), member_event("$2", "@b:w", "Bea"), member_event("$3", "@c:w", "Cy"),
                   member_event("$4", "@d:w", "Al"), member_event("$5", "@low:w", "Aaron"), member_event("$6", "@e:w", "Eve", "invite"),
                   member_event("$7", "@gone:w", "Gone", "leave"), member_event("$8", "@f:w", "Fay", "ban")});
    auto shown = world.read(kRoom, {}, Show::first_page);
    assert_text(users(shown.json), "@c:w @d:w @b:w @e:w @me:w @low:w");
    assert_text(shown.json["p"].dump(), R"({"count":6,"limit":50,"sort":"by_pl"})");
    ck_assert(shown.cursor.paged && shown.cursor.at == world.me.end());
    shown = world.read(with(kRoom, {{"p", {{"sort", "by_name"}}}}), {}, Show::first_page);
    assert_text(users(shown.json), "@low:w @d:w @b:w @c:w @e:w @me:w");
    assert_text(shown.json["p"].dump(), R"({"count":6,"limit":50,"sort":"by_name"})");
    shown = world.read(with(kRoom, {{"membership", {"ban", "leave"}}}), {}, Show::first_page);
    assert_text(users(shown.json), "@gone:w @f:w");
    shown = world.read(with(kRoom, {{"membership", Json::array()}}), {}, Show::first_page);
    assert_text(shown.json.dump(), R"({"events":[],"p":{"count":0,"limit":50,"sort":"by_pl"}})");
    ck_assert_uint_eq(world.homeserver->calls.size(), 1);
}
END_TEST

START_TEST(another_default_power_moves_members_and_writes_none) {
    World world;
    world.join({}, {power_levels("$pl", R"({"users":{"@b:w":50,"@c:w":100}})")});
    world.members({member_event("$1", kMe), member_event("$2", "@b:w"), member_event("$3", "@c:w"), member_event("$4", "@d:w")});
    assert_text(users(world.read(kRoom, {}, Show::first_page).json), "@c:w @b:w @d:w @me:w");
    auto rows = [&] { return world.database.value("SELECT string_agg(m.xmin || ' ' || m::text, ', ' ORDER BY m.ctid) FROM member m"); };
    const std::string before = rows();
    world.tell({power_levels("$more", R"({"users_default":60,"users":{"@b:w":50,"@c:w":100}})")});
    assert_text(users(world.read(kRoom, {}, Show::first_page).json), "@c:w @d:w @me:w @b:w");
    assert_text(rows(), before);
    ck_assert_uint_eq(world.homeserver->calls.size(), 1);
}
END_TEST

START_TEST(creators_come_first_where_the_room_version_says_so) {
    World world;
    RoomPart first = first_part("!r:w", {});
    first.state[0].room_version = "12";
    first.state[0].body =
        R"({"event_id":"$create","type":"m.room.create","state_key":"","sender":"@founder:w","content":{"room_version":"12"}})";
    first.state.push_back(power_levels("$pl", R"({"users":{"@admin:w":100}})"));
    world.poll(std::move(first));
    world.members({member_event("$1", kMe), member_event("$2", "@founder:w"), member_event("$3", "@admin:w")});
    assert_text(users(world.read(kRoom, {}, Show::first_page).json), "@founder:w @admin:w @me:w");
}
END_TEST

START_TEST(pages_hold_everybody_once_whatever_happens_meanwhile) {
    std::mt19937 random(11);
    auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
    for (int trial = 0; trial < 12; ++trial) {
        World world;
        Json levels = {{"users_default", 10}, {"users", Json::object()}};
        std::vector<Event> events{member_event("$me", kMe, "me")};
        for (int i = 0; i < 60; ++i) {
            const std::string user = "@u" + std::to_string(i) + ":w";
            const std::vector<std::string> memberships{"join", "join", "join", "invite", "leave"};
            events.push_back(member_event("$" + std::to_string(i), user, below(4) ? "n" + std::to_string(below(20)) : "",
                                          memberships[static_cast<std::size_t>(below(5))]));
            if (below(4) == 0) levels["users"][user] = std::vector<int>{0, 5, 10, 50, 100}[static_cast<std::size_t>(below(5))];
        }
        world.join({}, {power_levels("$pl", levels.dump())});
        world.members(events);

        auto level = [&](const std::string& user) { return levels["users"].value(user, 10); };
        const bool by_pl = below(2) == 0;
        std::vector<std::tuple<int, std::string, std::string>> sorted;
        for (const Event& event : events) {
            if (event.membership == "leave") continue;
            const Member row = *read_member_row(event, EventRef{1});
            sorted.emplace_back(by_pl ? -level(row.user.value) : 0, row.sort_name, row.user.value);
        }
        std::ranges::sort(sorted);
        std::string expected;
        for (const auto& [power, name, user] : sorted) expected += (expected.empty() ? "" : " ") + user;

        Json params = with(kRoom, {{"p", {{"limit", 1 + below(20)}, {"sort", by_pl ? "by_pl" : "by_name"}}}});
        Json page = world.read(params, {}, Show::first_page).json;
        std::string got;
        for (int more = 0;; ++more) {
            ck_assert_int_eq(page["p"]["count"].get<int>(), static_cast<int>(sorted.size()));
            ck_assert_uint_le(page["events"].size(), params["p"]["limit"].get<std::size_t>());
            got += (got.empty() ? "" : " ") + users(page);
            if (!page["p"].contains("next")) break;
            const std::string user = "@u" + std::to_string(below(60)) + ":w";
            world.tell({member_event("$x" + std::to_string(more), user, "n" + std::to_string(below(20)), below(2) ? "join" : "leave"),
                        power_levels("$pl" + std::to_string(more), R"({"users":{"@u1:w":99}})")});
            params["p"]["limit"] = 1 + below(20);
            page = world.later(params, page["p"]["next"].get<std::string>());
        }
        assert_text(got, expected);
    }
}
END_TEST

START_TEST(a_page_ends_at_a_megabyte) {
    World world;
    world.join();
    std::vector<Event> events;
    for (int i = 10; i < 60; ++i) {
        events.push_back(member_event("$" + std::to_string(i), "@" + std::to_string(i) + ":w", std::string(60'000, 'x')));
    }
    world.members(events);
    Json page = world.read(kRoom, {}, Show::first_page).json;
    ck_assert_uint_eq(page["events"].size(), 18);
    ck_assert_int_eq(page["p"]["count"].get<int>(), 50);
    std::size_t all = 18;
    while (page["p"].contains("next")) {
        page = world.later(kRoom, page["p"]["next"].get<std::string>());
        all += page["events"].size();
    }
    ck_assert_uint_eq(all, 50);
}
END_TEST

START_TEST(wrong_pages_are_refused) {
    World world;
    world.join();
    world.members({member_event("$1", "@a:w"), member_event("$2", "@b:w"), member_event("$3", "@c:w", "", "leave")});
    const Json one = with(kRoom, {{"p", {{"limit", 1}}}});
    const std::string next = world.read(one, {}, Show::first_page).json["p"]["next"].get<std::string>();
    const std::int64_t number = std::stoll(next);
    const std::string page = std::to_string(number) + "_";
    assert_text(next, page + "@a:w");
    assert_text(users(world.later(kRoom, next)), "@b:w");
    ck_assert(!world.later(kRoom, next)["p"].contains("next"));
    assert_text(world.later(kRoom, page + "@b:w")["events"].dump(), "[]");
    auto refused = [&](const Json& params, const std::string& token) {
        try {
            world.later(params, token);
        } catch (const MatrixError& error) {
            return error.status == 400 && error.errcode == "M_INVALID_PARAM";
        }
        return false;
    };
    std::vector<std::string> tokens{"", "_@a:w", "0_@a:w", "-1_@a:w", "x_@a:w", "99999999999_@a:w"};
    tokens.push_back(std::to_string(number));
    tokens.push_back(std::to_string(number + 1) + "_@a:w");
    tokens.push_back(std::to_string(number) + " _@a:w");
    for (const std::string& place : {std::string(), std::string("@c:w"), std::string("@nobody:w"), std::string("\xff"),
                                     std::string("@a:w\0", 5), std::string(5000, 'x')}) {
        tokens.push_back(page + place);
    }
    for (const std::string& token : tokens) ck_assert_msg(refused(kRoom, token), "%s is a page", token.c_str());
    ck_assert(refused(with(kRoom, {{"p", {{"sort", "by_name"}}}}), next));
    ck_assert(refused(with(kRoom, {{"membership", {"join"}}}), next));
    ck_assert(refused({{"room_id", "!s:w"}}, next));
    world.leave({member_event("$4", kMe, "", "leave")});
    ck_assert(world.later(kRoom, next).is_null());
}
END_TEST

START_TEST(a_first_page_comes_again_only_when_it_has_changed) {
    World world;
    world.join();
    world.members({member_event("$1", kMe)});
    auto shown = world.read(kRoom, {}, Show::first_page);
    const Cursor page = shown.cursor;
    ck_assert(page.paged && !world.news(kRoom, page, Show::changed_first_page));
    shown = world.read(kRoom, page, Show::changed_first_page);
    ck_assert(shown.json.is_null() && shown.cursor == page);
    world.tell({event("$m1")});
    ck_assert(!world.news(kRoom, page, Show::changed_first_page) && !world.news(kRoom, page, Show::deltas));
    shown = world.read(kRoom, page, Show::deltas);  // nothing new: what the client has is still so
    ck_assert(shown.json.is_null() && shown.cursor.paged && shown.cursor.at > page.at);
    world.tell({member_event("$2", "@a:w")});
    ck_assert(world.news(kRoom, page, Show::changed_first_page));
    shown = world.read(kRoom, page, Show::changed_first_page);
    assert_text(users(shown.json), "@a:w @me:w");
    Cursor next = shown.cursor;
    world.tell({power_levels("$pl", R"({"users":{"@me:w":100}})")});
    ck_assert(world.news(kRoom, next, Show::changed_first_page));
    shown = world.read(kRoom, next, Show::deltas);
    ck_assert(shown.json.is_null() && !shown.cursor.paged);
    assert_text(users(world.read(kRoom, next, Show::changed_first_page).json), "@me:w @a:w");
}
END_TEST

START_TEST(rooms_that_one_is_not_in_are_silence) {
    World world;
    auto silent = [&](Show show) {
        auto shown = world.read(kRoom, Cursor{}, show);
        return shown.json.is_null() && !world.news(kRoom, shown.cursor, Show::changed_first_page);
    };
    ck_assert(silent(Show::first_page) && silent(Show::deltas));
    RoomPart invite;
    invite.room = RoomId{"!r:w"};
    invite.section = Section::invite;
    invite.stripped_state = {R"({"type":"m.room.member","state_key":"@me:w","sender":"@x:w","content":{"membership":"invite"}})"};
    world.poll(std::move(invite));
    ck_assert(silent(Show::first_page) && silent(Show::deltas));
    ck_assert(world.homeserver->calls.empty());

    world.join({member_event("$1", "@a:w"), member_event("$2", kMe)});
    auto shown = world.read(kRoom, Cursor{}, Show::deltas);
    assert_text(ids(shown.json), "$1 $2");
    ck_assert(shown.json["events"][0] == Json::parse(world.body("$1")) && shown.json.size() == 1);
    const Cursor in = shown.cursor;
    ck_assert(world.read(kRoom, in, Show::first_page).json.is_null());  // 404: nobody knows who is there
    world.leave({member_event("$3", "@b:w"), member_event("$4", kMe, "", "leave"), member_event("$5", "@c:w")});
    ck_assert(world.news(kRoom, in, Show::deltas));
    ck_assert(!world.news(kRoom, in, Show::changed_first_page));
    shown = world.read(kRoom, in, Show::first_page);
    ck_assert(shown.json.is_null());
    shown = world.read(kRoom, shown.cursor, Show::deltas);
    assert_text(ids(shown.json), "$3 $4");
    ck_assert(!shown.json.contains("limited"));
    world.leave({member_event("$6", kMe, "", "ban")});
    shown = world.read(kRoom, shown.cursor, Show::deltas);
    ck_assert(shown.json.is_null() && shown.cursor.at == world.me.end());

    world.join({member_event("$7", kMe)});
    assert_text(ids(world.read(kRoom, shown.cursor, Show::deltas).json), "$7");
    assert_text(ids(world.read(kRoom, in, Show::deltas).json), "$3 $4 $7");
}
END_TEST

START_TEST(deltas_hold_every_member_event_in_order) {
    World world;
    world.join({member_event("$0", kMe)});
    const Cursor cursor = world.read(kRoom, Cursor{world.me.end()}, Show::deltas).cursor;
    ck_assert(!world.news(kRoom, cursor, Show::deltas));
    Event own = member_event("$1", kMe, "Me");
    own.transaction_id = "t1";
    world.tell({member_event("$a", "@a:w"), event("$m1"), own, member_event("$b", "@b:w"), event("$m2")});
    world.tell({member_event("$a2", "@a:w", "", "leave"), member_event("$c", "@c:w")});
    world.tell({event("$m3")});
    ck_assert(world.news(kRoom, cursor, Show::deltas));

    auto shown = world.read(kRoom, cursor, Show::deltas);
    assert_text(ids(shown.json), "$a $1 $b $a2 $c");
    ck_assert(!shown.json.contains("limited") && !shown.json.contains("p"));
    assert_text(shown.json["events"][1]["unsigned"]["transaction_id"].get<std::string>(), "t1");
    ck_assert(!shown.json["events"][0].contains("unsigned"));
    ck_assert(shown.cursor == Cursor{world.me.end()} && !world.news(kRoom, shown.cursor, Show::deltas));

    for (int limit = 1; limit <= 5; ++limit) {
        const Json params = with(kRoom, {{"p", {{"limit", limit}}}});
        std::string all;
        Cursor at = cursor;
        for (int i = 0; world.news(params, at, Show::deltas); ++i) {
            shown = world.read(params, at, Show::deltas);
            if (shown.json.is_null()) break;
            ck_assert_uint_le(shown.json["events"].size(), static_cast<std::size_t>(limit));
            ck_assert_int_lt(i, 6);
            all += (all.empty() ? "" : " ") + ids(shown.json);
            at = shown.cursor;
        }
        assert_text(all, "$a $1 $b $a2 $c");
        ck_assert(at == Cursor{world.me.end()});
    }
}
END_TEST

START_TEST(what_was_cut_goes_on_only_in_the_same_entry) {
    World world;
    world.join({member_event("$0", kMe)});
    const Cursor cursor{world.me.end()};
    world.tell({event("$m"), member_event("$a", "@a:w"), member_event("$b", "@b:w")});
    const Json params = with(kRoom, {{"p", {{"limit", 1}}}});
    Cursor cut = world.read(params, cursor, Show::deltas).cursor;
    ck_assert_int_eq(cut.within, 2);
    assert_text(ids(world.read(params, cut, Show::deltas).json), "$b");
    // That entry was lost with its number; what comes instead has another.
    cut.at.value -= 1;
    assert_text(ids(world.read(kRoom, cut, Show::deltas).json), "$a $b");
}
END_TEST

START_TEST(deltas_over_a_gap_are_limited) {
    World world;
    world.join({member_event("$0", kMe)});
    const Cursor cursor{world.me.end()};
    RoomPart gap = part("!r:w", {member_event("$b", "@b:w"), member_event("$c", "@c:w")});
    gap.limited = true;
    world.tell({member_event("$a", "@a:w")});
    world.poll(std::move(gap));
    auto shown = world.read(kRoom, cursor, Show::deltas);
    assert_text(ids(shown.json), "$a $b $c");
    ck_assert(shown.json["limited"] == true);
    const Json params = with(kRoom, {{"p", {{"limit", 2}}}});
    shown = world.read(params, cursor, Show::deltas);
    ck_assert(shown.json["limited"] == true);
    shown = world.read(params, shown.cursor, Show::deltas);
    assert_text(ids(shown.json), "$c");
    ck_assert(!shown.json.contains("limited"));
    RoomPart silent = part("!r:w", {event("$m")});
    silent.limited = true;
    world.poll(std::move(silent));
    assert_text(world.read(params, shown.cursor, Show::deltas).json.dump(), R"({"events":[],"limited":true})");
}
END_TEST

START_TEST(a_list_that_cannot_be_had_is_an_error_or_silence) {
    World world;
    world.join({member_event("$0", kMe)});
    auto trouble = [&](int status, const std::string& body) {
        world.homeserver->answers[kTarget] = {status, body};
        try {
            auto shown = world.read(kRoom, {}, Show::first_page);
            return shown.json.is_null() ? std::string("silence") : std::string("page");
        } catch (const MatrixError& error) {
            return std::to_string(error.status);
        }
    };
    assert_text(trouble(403, "{}"), "silence");
    assert_text(trouble(500, "{}"), "502");
    assert_text(trouble(429, "{}"), "429");
    // Left while the homeserver thought.
    world.homeserver->when_asked = [&] {
        world.homeserver->when_asked = {};
        world.leave({member_event("$1", kMe, "", "leave")});
    };
    world.members({member_event("$0", kMe)});
    auto shown = world.read(kRoom, {}, Show::first_page);
    ck_assert(shown.json.is_null());
    assert_text(ids(world.read(kRoom, shown.cursor, Show::deltas).json), "$1");
}
END_TEST

MATRIX_SYNC_SUITE("room_members", parameters_are_checked_and_negotiated, a_first_page_is_in_order_of_power_then_name,
                  another_default_power_moves_members_and_writes_none, creators_come_first_where_the_room_version_says_so,
                  pages_hold_everybody_once_whatever_happens_meanwhile, a_page_ends_at_a_megabyte, wrong_pages_are_refused,
                  a_first_page_comes_again_only_when_it_has_changed, rooms_that_one_is_not_in_are_silence,
                  deltas_hold_every_member_event_in_order, what_was_cut_goes_on_only_in_the_same_entry, deltas_over_a_gap_are_limited,
                  a_list_that_cannot_be_had_is_an_error_or_silence)
