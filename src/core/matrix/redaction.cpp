#include "core/matrix/redaction.hpp"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>

#include "core/json/rewrite.hpp"

namespace matrix_sync {

namespace {

// Versions are numbers as far as they are stable; what else there is was made of the newest ones.
int number_of(std::string_view room_version) {
    constexpr int newest = std::numeric_limits<int>::max();
    int number = 0;
    auto [end, error] = std::from_chars(room_version.begin(), room_version.end(), number);
    return error == std::errc{} && end == room_version.end() && number > 0 ? number : newest;
}

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool keeps_member(int version, std::string_view name) {
    if (one_of(name, {"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events",
                      "auth_events", "origin_server_ts"})) {
        return true;
    }
    return version < 11 && one_of(name, {"prev_state", "origin", "membership"});
}

bool keeps_content(int version, std::string_view type, std::string_view name) {
    if (type == "m.room.member") {
        if (name == "join_authorised_via_users_server") return version >= 9;
        return name == "membership";
    }
    if (type == "m.room.create") return version >= 11 || name == "creator";
    if (type == "m.room.join_rules") return name == "join_rule" || (version >= 8 && name == "allow");
    if (type == "m.room.power_levels") {
        if (name == "invite") return version >= 11;
        return one_of(name, {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"});
    }
    if (type == "m.room.history_visibility") return name == "history_visibility";
    if (type == "m.room.aliases") return version < 6 && name == "aliases";
    if (type == "m.room.redaction") return version >= 11 && name == "redacts";
    return false;
}

Rewrite keep_if(bool kept) {
    return {kept ? Rewrite::keep : Rewrite::drop};
}

// Of `third_party_invite` only `signed`.
Rewrite redacted_invite(JsonCursor& cursor) {
    if (cursor.kind() != JsonKind::object) return {Rewrite::drop};
    Rewrite invite{Rewrite::replace};
    bool any = rewrite_object(cursor, "third_party_invite", invite.json,
                              [](std::string_view name, JsonCursor&) { return keep_if(name == "signed"); });
    if (!any) return {Rewrite::drop};
    return invite;
}

Rewrite redacted_content(JsonCursor& cursor, int version, std::string_view type) {
    Rewrite content{Rewrite::replace};
    if (cursor.kind() != JsonKind::object) {
        content.json = "{}";
        return content;
    }
    rewrite_object(cursor, "content", content.json, [&](std::string_view name, JsonCursor& value) {
        if (version >= 11 && type == "m.room.member" && name == "third_party_invite") return redacted_invite(value);
        return keep_if(keeps_content(version, type, name));
    });
    return content;
}

std::string type_of(std::string_view event_body) {
    std::string type;
    JsonCursor(event_body).object("event", [&](std::string_view name, JsonCursor& value) {
        if (name == "type") type = value.string("type");
    });
    return type;
}

}  // namespace

std::string redact(std::string_view event_body, std::string_view room_version, std::string_view redacted_because) {
    int version = number_of(room_version);
    std::string type = type_of(event_body);
    std::string body;
    JsonCursor cursor(event_body);
    bool any = rewrite_object(cursor, "event", body, [&](std::string_view name, JsonCursor& value) {
        if (name == "content") return redacted_content(value, version, type);
        return keep_if(keeps_member(version, name));
    });
    body.pop_back();
    if (any) body += ',';
    return body.append("\"unsigned\":{\"redacted_because\":").append(redacted_because).append("}}");
}

}  // namespace matrix_sync
