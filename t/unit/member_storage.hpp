// A database with member lists in it.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "blocking_database.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "storage/members.hpp"
#include "storage/schema.hpp"
#include "watched_database.hpp"
// Last, because of Check's macros.
#include <check.h>

#include "assert_text.hpp"

namespace matrix_sync {

inline std::string names(const std::vector<Member>& members) {
    std::string text;
    for (const Member& member : members) text += (text.empty() ? "" : " ") + member.user.value;
    return text;
}

inline Event member_event(const std::string& id, const std::string& user, const std::string& name = "",
                          const std::string& membership = "join") {
    Event event;
    event.event_id = EventId{id};
    event.type = "m.room.member";
    event.state_key = user;
    event.sender = UserId{user};
    event.membership = membership;
    const std::string displayname = name.empty() ? "" : R"(,"displayname":")" + name + '"';
    event.body = R"({"event_id":")" + id + R"(","type":"m.room.member","state_key":")" + user + R"(","sender":")" + user +
                 R"(","content":{"membership":")" + membership + '"' + displayname + "}}";
    return event;
}

struct MemberStorage {
    MemberStorage() { complete(migrate(database)); }

    RoomKey room(const std::string& id = "!r:world") {
        return RoomKey{std::stoll(database.value("INSERT INTO room (room_id, version) VALUES ('" + id + "', '10') RETURNING id"))};
    }
    EventRef store(RoomKey room, const Event& event) {
        const std::string known = database.value("SELECT ref FROM event WHERE event_id = '" + event.event_id.value + "'");
        if (!known.empty()) return EventRef{std::stoll(known)};
        return EventRef{std::stoll(
            database.value("INSERT INTO event (event_id, room, type, state_key, sender, origin_server_ts, body) VALUES ('" +
                           event.event_id.value + "', " + std::to_string(room.value) + ", 'm.room.member', '" + *event.state_key + "', '" +
                           event.sender.value + "', 0, convert_to('" + event.body + "', 'UTF8')) RETURNING ref"))};
    }
    MemberFact fact(RoomKey room, const Event& event, Said said) {
        MemberFact fact;
        fact.member = *read_member_row(event, store(room, event));
        fact.event_id = event.event_id;
        fact.said = said;
        return fact;
    }

    void write(std::vector<MemberFacts> rooms) {
        auto transaction = complete(watched.begin());
        Sending sending(*transaction);
        complete(write_members(sending, std::move(rooms)));
        complete(sending.commit(false));
    }
    void write(RoomKey room, std::vector<MemberFact> facts, std::optional<Microseconds> gap = {}) {
        std::vector<MemberFacts> rooms;
        rooms.push_back({room, std::move(facts), gap, {}});
        write(std::move(rooms));
    }
    void tell(RoomKey room, const Event& event, Said said) { write(room, {fact(room, event, said)}); }
    void end(RoomKey room, std::vector<std::string> unlisted, Microseconds asked) {
        auto transaction = complete(watched.begin());
        Sending sending(*transaction);
        complete(end_fetch(sending, room, std::move(unlisted), asked));
        complete(sending.commit(false));
    }

    Microseconds now() { return complete(members.member_list(RoomKey{})).now; }
    std::int64_t version(RoomKey room) { return complete(members.member_list(room)).version; }
    std::vector<Member> at(RoomKey room, std::int64_t version, Membership membership = Membership::join) {
        const Memberships memberships{membership};
        return complete(members.members_at(room, version, memberships, {}, 100, {})).next;
    }

    BlockingDatabase database{postgres().fresh_database()};
    WatchedDatabase watched{database};
    PostgresMembers members{watched};
};

}  // namespace matrix_sync
