#include "core/rooms/stripped.hpp"

#include <algorithm>

#include "core/json/cursor.hpp"
#include "core/matrix/content.hpp"

namespace matrix_sync {

namespace {

void read_person(Stripped& room, std::string_view event, std::string user, const UserId& self) {
    MemberContent member = read_member(event);
    if (user == self.value) {
        if (member.membership == "invite") room.inviter = UserId(json_text(json_member(event, "sender")).value_or(""));
        return;
    }
    std::erase_if(room.people, [&](const Stripped::Person& person) { return person.user.value == user; });
    room.people.push_back(
        {UserId(std::move(user)), std::move(member.membership), std::move(member.displayname), std::move(member.avatar_url)});
}

void read_event(Stripped& room, std::string_view event, const UserId& self) {
    auto type = json_text(json_member(event, "type"));
    auto key = json_text(json_member(event, "state_key"));
    if (!type || !key) return;
    if (*type == "m.room.member") read_person(room, event, std::move(*key), self);
    if (!key->empty()) return;
    if (*type == "m.room.name") room.name = content_string(event, "name");
    if (*type == "m.room.canonical_alias") room.canonical_alias = read_canonical_alias(event);
    if (*type == "m.room.avatar") room.avatar_url = content_string(event, "url");
    if (*type == "m.room.create") room.type = read_create(event).type;
    if (*type == "m.room.encryption") room.encrypted = true;
}

void put_inviter_first(Stripped& room) {
    if (room.inviter.empty()) return;
    auto found = std::ranges::find(room.people, room.inviter, &Stripped::Person::user);
    if (found != room.people.end()) {
        std::rotate(room.people.begin(), found, found + 1);
    } else {
        room.people.insert(room.people.begin(), {room.inviter, "join", std::nullopt, std::nullopt});
    }
}

}  // namespace

Stripped read_stripped(std::string_view events, const UserId& user) {
    Stripped room;
    try {
        if (!events.empty()) {
            JsonCursor(events).array("events", [&](JsonCursor& event) { read_event(room, event.skip(), user); });
        }
    } catch (const JsonError&) {
        // What was read before counts.
    }
    put_inviter_first(room);
    return room;
}

}  // namespace matrix_sync
