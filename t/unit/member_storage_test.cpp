// Member lists on a real PostgreSQL: never stale where they claim to be complete, the same for ever as of a version, and never read whole.
#include "member_storage.hpp"

// Last, because of Check's macros.
#include "member_world.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

/// Keeps the world's list, and what it was as of every version.
class StoredList : public member_world::ListKeeper {
  public:
    StoredList(MemberStorage& storage, RoomKey room) : storage_(storage), room_(room) {}

    void tell(const std::vector<MemberFact>& facts, std::optional<Microseconds> gap) override {
        std::vector<MemberFact> stored = facts;
        for (MemberFact& fact : stored) {
            store(fact);
            fact.event_id = id_of(fact.ref());
            if (!fact.replaces.empty()) fact.replaces = EventId{prefix() + fact.replaces.value};
        }
        storage_.write(room_, std::move(stored), gap);
        remember();
    }
    void end_fetch(const std::vector<std::string>& listed, Microseconds asked) override {
        std::vector<std::string> unlisted;
        for (const auto& [user, ref] : rows()) {
            if (std::ranges::find(listed, user) == listed.end()) unlisted.push_back(user);
        }
        storage_.end(room_, std::move(unlisted), asked);
        remember();
    }
    bool complete() override { return matrix_sync::complete(storage_.members.member_list(room_)).complete; }
    std::map<std::string, EventRef> rows() override { return as_of(storage_.version(room_)); }

    void check_versions() {
        for (const auto& [version, rows] : versions_) ck_assert(as_of(version) == rows);
        check_changes();
    }

  private:
    std::string prefix() const { return "$" + std::to_string(room_.value) + "/"; }
    EventId id_of(EventRef ref) const { return EventId{prefix() + "$" + std::to_string(ref.value)}; }

    /// The world's refs are not those of the storage: they are told apart by room.
    void store(MemberFact& fact) {
        for (EventRef ref : fact.before) put(fact.member.user.value, ref);
        put(fact.member.user.value, fact.ref());
    }
    void put(const std::string& user, EventRef ref) {
        storage_.database.execute(
            "INSERT INTO event (ref, event_id, room, type, state_key, sender, origin_server_ts, body) "
            "OVERRIDING SYSTEM VALUE VALUES (" +
            std::to_string(ref.value) + ", '" + id_of(ref).value + "', " + std::to_string(room_.value) + ", 'm.room.member', '" + user +
            "', '" + user + "', 0, '{}') ON CONFLICT DO NOTHING");
    }

    std::map<std::string, EventRef> as_of(std::int64_t version) {
        std::map<std::string, EventRef> refs;
        for (const Member& member : storage_.at(room_, version, Membership::leave)) refs[member.user.value] = member.ref;
        return refs;
    }

    void remember() {
        const std::int64_t version = storage_.version(room_);
        if (!versions_.contains(version)) versions_[version] = as_of(version);
    }

    /// From any version to the present by changes.
    void check_changes() {
        for (const auto& [version, rows] : versions_) {
            auto now = rows;
            const MemberChanges changes = matrix_sync::complete(storage_.members.member_changes(room_, version));
            ck_assert(!changes.more);
            for (const UserId& user : changes.gone) now.erase(user.value);
            for (const Member& member : changes.rows) now[member.user.value] = member.ref;
            ck_assert(now == versions_.rbegin()->second);
            ck_assert_int_eq(changes.end.version, versions_.rbegin()->first);
        }
    }

    MemberStorage& storage_;
    RoomKey room_;
    std::map<std::int64_t, std::map<std::string, EventRef>> versions_;
};

std::vector<MemberFact> many(MemberStorage& storage, RoomKey room, int count, const std::string& prefix, Said said) {
    std::vector<MemberFact> facts;
    for (int i = 0; i < count; ++i) {
        const std::string number = std::to_string(100'000 + i);
        facts.push_back(storage.fact(room, member_event("$" + prefix + number, "@" + number + ":w", prefix + number), said));
    }
    return facts;
}

void store_members(MemberStorage& storage, std::vector<Event> members, Microseconds asked) {
    std::vector<RoomMembers> rooms(1);
    rooms[0] = {RoomId{"!r:world"}, std::move(members)};
    complete(storage.members.store_members(std::move(rooms), asked));
}

}  // namespace

START_TEST(a_complete_list_is_never_stale_and_versions_stay) {
    MemberStorage storage;
    member_world::Tally all;
    for (std::uint64_t trial = 0; trial < world::runs(30); ++trial) {
        storage.database.execute("TRUNCATE event, member, member_list");
        StoredList list(storage, storage.room("!" + std::to_string(trial)));
        const auto tally = member_world::Trial(world::seed() + trial, list).run(150);
        list.check_versions();
        ck_assert_msg(tally.stale == 0, "seed %llu", static_cast<unsigned long long>(world::seed() + trial));
        all.looks += tally.looks;
    }
    ck_assert_uint_gt(all.looks, 100);
}
END_TEST

START_TEST(members_come_in_order_page_by_page) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    const RoomKey other = storage.room("!other");
    storage.write(
        room, {storage.fact(room, member_event("$1", "@z:w", "Ann"), {1, 2}), storage.fact(room, member_event("$2", "@B:w"), {1, 2}),
               storage.fact(room, member_event("$3", "@a:w", "ann"), {1, 2}), storage.fact(room, member_event("$4", "@y:w", "Älf"), {1, 2}),
               storage.fact(room, member_event("$5", "@c:w", "Bob", "invite"), {1, 2})});
    storage.tell(other, member_event("$6", "@a:w", "Elsewhere"), {1, 2});
    const std::int64_t version = storage.version(room);
    ck_assert_int_eq(version, 1);
    auto all = storage.at(room, version);
    assert_text(names(all), "@a:w @z:w @B:w @y:w");
    assert_text(all[0].displayname.value_or(""), "ann");
    assert_text(names(storage.at(room, version, Membership::invite)), "@c:w");
    const Memberships both{Membership::join, Membership::invite};
    MembersAt page = complete(storage.members.members_at(room, version, both, {all[0].user.value, std::nullopt}, 3, {}));
    assert_text(names(page.next), "@z:w @B:w @c:w");
    ck_assert(page.named.empty());
    page = complete(storage.members.members_at(room, version, both, {page.next[1].user.value, page.next[1].sort_name}, 3, {"@a:w"}));
    assert_text(names(page.next), "@c:w @y:w");
    assert_text(names(page.named), "@a:w");

    storage.tell(room, member_event("$7", "@z:w", "Zed"), {3, 4});
    storage.tell(room, member_event("$8", "@a:w", "", "leave"), {3, 4});
    assert_text(names(storage.at(room, version)), "@a:w @z:w @B:w @y:w");
    assert_text(names(storage.at(room, 3)), "@B:w @z:w @y:w");
    ck_assert_int_eq(storage.version(room), 3);
    std::vector<std::string> users{"@a:w", "@z:w", "@nobody:w"};
    auto then = complete(storage.members.members_at(room, 2, {}, {}, 1, users)).named;
    ck_assert_uint_eq(then.size(), 2);
    for (const Member& member : then) ck_assert(member.user.value != "@z:w" || member.displayname == "Zed");
    for (const Member& member : then) ck_assert(member.user.value != "@a:w" || member.membership == Membership::join);
    std::vector<std::pair<RoomKey, std::string>> pairs{{room, "@a:w"}, {other, "@a:w"}, {other, "@z:w"}};
    auto found = complete(storage.members.members_of(pairs));
    ck_assert_uint_eq(found.size(), 2);
    for (const auto& [key, member] : found) ck_assert((key == room) == (member.membership == Membership::leave));
    ck_assert_int_eq(complete(storage.members.member_list(RoomKey{99})).version, 0);
}
END_TEST

START_TEST(changes_come_in_bounded_pages_of_whole_versions) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    storage.write(room, many(storage, room, 700, "a", {1, 2}));
    storage.write(room, many(storage, room, 700, "b", {3, 4}));
    storage.write(room, many(storage, room, 700, "c", {5, 6}));
    storage.end(room, {"@100000:w", "@100001:w"}, 7);
    std::map<std::string, std::string> users;
    int pages = 0;
    for (std::int64_t at = 0;; ++pages) {
        const MemberChanges changes = complete(storage.members.member_changes(room, at));
        ck_assert_uint_le(changes.rows.size() + changes.gone.size(), 2000);
        for (const UserId& user : changes.gone) users.erase(user.value);
        for (const Member& member : changes.rows) users[member.user.value] = *member.displayname;
        ck_assert(changes.end.version > at);
        at = changes.end.version;
        ck_assert(changes.end.complete);
        if (!changes.more) break;
    }
    ck_assert_int_ge(pages, 1);
    ck_assert_uint_eq(users.size(), 698);
    for (const auto& [user, name] : users) ck_assert(name[0] == 'c');
    const MemberChanges none = complete(storage.members.member_changes(room, 4));
    ck_assert(none.rows.empty() && none.gone.empty() && none.end.version == 4 && !none.more);
}
END_TEST

START_TEST(what_is_known_costs_no_lock) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    const Event event = member_event("$1", "@a:w", "Ann");
    storage.tell(room, event, {10, 20});
    storage.watched.statements.clear();
    storage.tell(room, event, {30, 40});
    ck_assert_uint_eq(storage.watched.statements.size(), 2);
    ck_assert(storage.watched.statements.contains("members_get_lists") && storage.watched.statements.contains("members_get_rows"));
    storage.tell(room, event, {5, 15});  // known earlier: no change of the list
    ck_assert_int_eq(storage.version(room), 1);
    assert_text(storage.database.value("SELECT asked || ' ' || answered FROM member"), "10 15");
    storage.watched.statements.clear();
    storage.write(std::vector<MemberFacts>{});
    ck_assert(storage.watched.statements.empty());
}
END_TEST

START_TEST(a_gap_puts_a_list_in_doubt_until_it_is_fetched_again) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    ck_assert(!complete(storage.members.member_list(room)).complete);
    storage.tell(room, member_event("$1", "@a:w", "Ann"), {10, 20});
    storage.end(room, {}, 15);
    ck_assert(complete(storage.members.member_list(room)).complete);
    storage.write(room, {}, 30);
    ck_assert(!complete(storage.members.member_list(room)).complete);
    storage.end(room, {}, 30);
    ck_assert(!complete(storage.members.member_list(room)).complete);
    storage.end(room, {}, 31);
    ck_assert(complete(storage.members.member_list(room)).complete);
    storage.end(room, {}, 12);  // an older one that comes late
    ck_assert(complete(storage.members.member_list(room)).complete);
    ck_assert_int_eq(storage.version(room), 1);
}
END_TEST

START_TEST(redactions_take_names_away) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    const Event event = member_event("$1", "@a:w", "Rude");
    storage.tell(room, event, {10, 20});
    MemberFacts redacted;
    redacted.room = room;
    redacted.redacted.push_back({"@a:w", storage.store(room, event)});
    redacted.redacted.push_back({"@nobody:w", EventRef{1}});
    std::vector<MemberFacts> rooms{redacted};
    storage.write(rooms);
    ck_assert_int_eq(storage.version(room), 2);
    ck_assert(!storage.at(room, 2)[0].displayname);
    assert_text(storage.at(room, 2)[0].sort_name, "a:w");
    assert_text(storage.at(room, 1)[0].displayname.value_or(""), "Rude");
    storage.write(rooms);
    storage.tell(room, event, {30, 40});  // as somebody polled it before
    ck_assert_int_eq(storage.version(room), 2);

    const Event ruder = member_event("$2", "@a:w", "Ruder");
    MemberFact late = storage.fact(room, ruder, {50, 60});
    storage.database.execute("UPDATE event SET redacted = true WHERE event_id = '$2'");
    storage.write(room, {late});
    ck_assert(!storage.at(room, 3)[0].displayname);

    const Event named = member_event("$3", "@b:w", "Rudest");
    storage.tell(room, named, {10, 20});
    Event bare = member_event("$3", "@b:w");
    storage.tell(room, bare, {30, 40});  // the homeserver has redacted it
    ck_assert(!storage.at(room, 5, Membership::join)[1].displayname);
}
END_TEST

START_TEST(a_fetched_list_is_stored_in_parts) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    const RoomKey other = storage.room("!other");
    storage.tell(room, member_event("$gone", "@gone:w", "Gone"), {1, 2});
    storage.store(other, member_event("$elsewhere", "@e:w"));
    const EventRef ref = storage.store(room, member_event("$known", "@k:w", "Known"));
    storage.database.execute("INSERT INTO event (event_id, room, type, sender, origin_server_ts, body) VALUES ('$redaction', " +
                             std::to_string(room.value) + ", 'm.room.redaction', '@x:w', 0, '{}')");
    storage.database.execute("INSERT INTO redaction SELECT " + std::to_string(room.value) +
                             ", '$rude', ref FROM event WHERE event_id = '$redaction'");

    const Microseconds asked = storage.now();
    std::vector<Event> some{member_event("$known", "@k:w", "Known"), member_event("$rude", "@r:w", "Rude"),
                            member_event("$elsewhere", "@e:w")};
    store_members(storage, some, asked);
    ck_assert(!complete(storage.members.member_list(room)).complete);
    Event message = member_event("$message", "@m:w");
    message.type = "m.room.message";
    storage.watched.statements.clear();
    std::vector<Event> more{member_event("$new", "@n:w", "New", "ban"), message};
    store_members(storage, more, asked);
    std::vector<std::string> listed{"@r:w", "@k:w", "@n:w", "@e:w"};
    complete(storage.members.end_members(room, listed, asked));

    const MemberListEnd end = complete(storage.members.member_list(room));
    ck_assert(end.complete);
    auto joined = storage.at(room, end.version);
    assert_text(names(joined), "@k:w @r:w");
    ck_assert(joined[0].ref == ref && !joined[1].displayname);
    assert_text(names(storage.at(room, end.version, Membership::ban)), "@n:w");
    assert_text(storage.database.value("SELECT redacted::text FROM event WHERE event_id = '$rude'"), "true");
    assert_text(storage.database.value("SELECT count(*) FROM event WHERE event_id = '$message'"), "0");
    assert_text(storage.database.value("SELECT fetched FROM member_list WHERE room = " + std::to_string(room.value)),
                std::to_string(asked));
    assert_text(storage.database.value("SELECT asked FROM member WHERE user_id = '@n:w'"), std::to_string(asked));
    ck_assert(!storage.watched.statements.contains("members_get_lists"));

    storage.watched.statements.clear();
    store_members(storage, more, storage.now());
    ck_assert(!storage.watched.statements.contains("members_lock_lists") && !storage.watched.statements.contains("event_insert"));
}
END_TEST

START_TEST(members_of_several_rooms_are_stored_at_once) {
    MemberStorage storage;
    const RoomKey one = storage.room("!one");
    const RoomKey two = storage.room("!two");
    const Microseconds asked = complete(storage.members.now());
    std::vector<RoomMembers> rooms(4);
    rooms[0] = {RoomId{"!one"}, {member_event("$1", "@a:w", "A"), member_event("$2", "@b:w", "B", "invite")}};
    rooms[1] = {RoomId{"!nowhere"}, {member_event("$3", "@a:w")}};
    rooms[2] = {RoomId{"!two"}, {member_event("$1", "@a:w", "A"), member_event("$4", "@c:w", "C")}};
    rooms[3] = {RoomId{"!one"}, {member_event("$5", "@d:w", "D")}};
    ck_assert((complete(storage.members.store_members(std::move(rooms), asked)) == std::vector{one, two}));

    assert_text(names(storage.at(one, 1)), "@a:w @d:w");
    assert_text(names(storage.at(one, 1, Membership::invite)), "@b:w");
    // An event has one room.
    assert_text(names(storage.at(two, 1)), "@c:w");
    assert_text(storage.database.value("SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM event"), "$1 $2 $4 $5");
}
END_TEST

START_TEST(storing_them_is_tried_again_when_another_transaction_is_in_the_way) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    int tries = 0;
    storage.watched.before = [&](const Statement& statement) {
        if (std::string(statement.name) == "members_insert_rows" && ++tries < 3)
            throw StatementFailed(tries == 1 ? "40P01" : "55P03", "in the way");
    };
    store_members(storage, {member_event("$1", "@a:w", "A"), member_event("$2", "@b:w", "B")}, storage.now());
    ck_assert_int_eq(tries, 3);
    assert_text(names(storage.at(room, 1)), "@a:w @b:w");
}
END_TEST

START_TEST(times_are_bounds) {
    const ClockReading clock{5'000'000, Instant{3000}};
    ck_assert_int_eq(clock.at_earliest(Instant{3000}), 5'000'000 - 1'000);
    ck_assert_int_eq(clock.at_earliest(Instant{-7000}), 5'000'000 - 10'000'000 - 2'000 - 1'000);
}
END_TEST

START_TEST(no_plan_reads_a_room_whole) {
    MemberStorage storage;
    const RoomKey room = storage.room();
    std::vector<Event> event{member_event("$1", "@a:w", "A")};
    store_members(storage, event, storage.now());
    std::vector<std::string> listed{"@a:w"};
    complete(storage.members.end_members(room, listed, storage.now()));
    storage.tell(room, member_event("$1", "@a:w", "A"), {0, 1});
    Event redacted = member_event("$1", "@a:w");
    redacted.body.insert(redacted.body.size() - 1, R"(,"unsigned":{"redacted_because":{}})");
    std::vector<Event> again{redacted};
    store_members(storage, again, storage.now());
    std::vector<std::pair<RoomKey, std::string>> pairs{{room, "@a:w"}};
    complete(storage.members.members_of(pairs));
    complete(storage.members.member_changes(room, 0));
    storage.version(room);
    storage.at(room, 1);
    ck_assert_uint_eq(storage.watched.statements.size(), 20);

    storage.database.execute(R"(
        TRUNCATE member, member_list, event;
        INSERT INTO event (event_id, room, type, sender, origin_server_ts, body)
            SELECT '$' || i, 1 + i % 3, 'm.room.member', 's', 0, '{}' FROM generate_series(1, 63000) i;
        INSERT INTO room (room_id) SELECT '!x' || i FROM generate_series(1, 5000) i;
        INSERT INTO redaction SELECT i, '$' || i, i FROM generate_series(1, 5000) i;
        INSERT INTO member_list (room, version) SELECT i, 1001 FROM generate_series(1, 5000) i;
        INSERT INTO member SELECT room, '@' || i, 1, CASE WHEN i <= 1000 THEN i + 1 END, room * 20000 + i, 1, 'name' || 100000 + i, NULL, NULL, 0, 1, '{}'
            FROM generate_series(1, 3) room, generate_series(1, 20000) i;
        INSERT INTO member SELECT room, '@' || i, i + 1, NULL, room * 20000 + i, 1, 'name' || 100000 + (i * 7919) % 20000, NULL, NULL, 0, 1, '{}'
            FROM generate_series(1, 3) room, generate_series(1, 1000) i;
        INSERT INTO member SELECT room, '@' || i, 1, NULL, room * 20000 + i, 1, 'name' || i, NULL, NULL, 0, 1, '{}'
            FROM generate_series(10, 4000) room, generate_series(1, 10) i;
        ANALYZE; SET plan_cache_mode = force_generic_plan)");
    for (const auto& [name, used] : storage.watched.statements) {
        std::string arguments;
        for (std::size_t i = 0; i < used.second; ++i) arguments += i ? ", NULL" : "NULL";
        storage.database.execute("PREPARE explained AS " + std::string(used.first->sql));
        Rows plan = storage.database.execute("EXPLAIN EXECUTE explained" + (arguments.empty() ? "" : "(" + arguments + ")"));
        std::string text;
        for (std::size_t row = 0; row < plan.size(); ++row) text += std::string(plan.text(row, 0)) + "\n";
        ck_assert_msg(text.find("Seq Scan on ") == std::string::npos, "%s:\n%s", name.c_str(), text.c_str());
        storage.database.execute("DEALLOCATE explained");
    }

    auto touched = [&](const std::string& statement, const std::string& arguments) {
        storage.database.execute("PREPARE explained AS " + std::string(storage.watched.statements.at(statement).first->sql));
        Rows plan = storage.database.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE explained(" + arguments + ")");
        storage.database.execute("DEALLOCATE explained");
        std::size_t most = 0;
        std::string text;
        for (std::size_t row = 0; row < plan.size(); ++row) {
            const std::string line(plan.text(row, 0));
            text += line + "\n";
            for (const char* mark : {"rows=", "Rows Removed by Filter: "}) {
                const std::size_t found = line.find(mark);
                if (found != std::string::npos)
                    most = std::max<std::size_t>(most, std::stoul(line.substr(found + std::string(mark).size())));
            }
        }
        return std::pair{most, text};
    };
    // A page from the middle of the list as it was at first, and as it is now.
    for (const char* version : {"1", "1001"}) {
        for (const char* named : {"'{@5, @10000}'", "'{}'"}) {
            const std::string arguments = std::string("2, ") + version + ", '{1, 2}', '@10000', 50, " + named + ", NULL";
            const auto [rows, plan] = touched("member_rows_get_at", arguments);
            ck_assert_msg(rows <= 110 && plan.find("member_order") != std::string::npos, "%s", plan.c_str());
        }
    }
    const auto [few, few_plan] = touched("member_rows_get_changes", "2, 991, 1000");
    ck_assert_msg(few <= 50, "%s", few_plan.c_str());
    const auto [page, page_plan] = touched("member_rows_get_changes", "2, 0, 100");
    ck_assert_msg(page <= 20'200, "%s", page_plan.c_str());  // the first version alone is 20,000 rows
    const auto [users_rows, users_plan] = touched("member_rows_get_users", "2, '@5', 100");
    ck_assert_msg(users_rows <= 200, "%s", users_plan.c_str());
}
END_TEST

MATRIX_SYNC_SUITE("member storage", a_complete_list_is_never_stale_and_versions_stay, members_come_in_order_page_by_page,
                  changes_come_in_bounded_pages_of_whole_versions, what_is_known_costs_no_lock,
                  a_gap_puts_a_list_in_doubt_until_it_is_fetched_again, redactions_take_names_away, a_fetched_list_is_stored_in_parts,
                  members_of_several_rooms_are_stored_at_once, storing_them_is_tried_again_when_another_transaction_is_in_the_way,
                  times_are_bounds, no_plan_reads_a_room_whole)
