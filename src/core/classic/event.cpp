#include "core/classic/event.hpp"

#include <algorithm>
#include <charconv>

#include "core/json/rewrite.hpp"
#include "core/json/text.hpp"

namespace matrix_sync {

namespace {

constexpr std::size_t longest_identifier = 255;  // characters

// What of `unsigned` is the same for every user.
bool is_shared(std::string_view name) {
    return name == "prev_content" || name == "replaces_state" || name == "invite_room_state";
}

std::optional<std::string> string_if_it_is_one(JsonCursor& cursor) {
    if (cursor.kind() != JsonKind::string) return std::nullopt;
    return cursor.string("");
}

// A redaction may itself be redacted, and so on: only the first of them is of use to anybody.
constexpr int redactions_in_each_other = 2;

Rewrite without_unshared(JsonCursor& cursor, int redactions_left, Event* event);

// The event in `redacted_because`, with what is per user taken off.
Rewrite shared_redaction(JsonCursor& cursor, int redactions_left) {
    if (cursor.kind() != JsonKind::object || redactions_left == 0) return {Rewrite::drop};
    Rewrite redaction{Rewrite::replace};
    rewrite_object(cursor, "redacted_because", redaction.json, [&](std::string_view name, JsonCursor& value) -> Rewrite {
        if (name == "unsigned") return without_unshared(value, redactions_left - 1, nullptr);
        return {name == "age" ? Rewrite::drop : Rewrite::keep};
    });
    return redaction;
}

// Rewrites `unsigned`. The transaction ID goes to `event`, if there is one.
Rewrite without_unshared(JsonCursor& cursor, int redactions_left, Event* event) {
    if (cursor.kind() != JsonKind::object) return {Rewrite::drop};
    Rewrite rewritten{Rewrite::replace};
    bool any = rewrite_object(cursor, "unsigned", rewritten.json, [&](std::string_view name, JsonCursor& value) -> Rewrite {
        if (name == "redacted_because") return shared_redaction(value, redactions_left);
        if (name == "transaction_id" && event) {
            auto id = string_if_it_is_one(value);
            event->transaction_id = id ? std::optional(storable_text(*id)) : std::nullopt;
        }
        return {is_shared(name) ? Rewrite::keep : Rewrite::drop};
    });
    if (!any) return {Rewrite::drop};
    return rewritten;
}

std::string identifier(JsonCursor& cursor, const char* what) {
    std::string text = cursor.text(what);
    if (!is_identifier(text)) throw JsonError(std::string(what) + ": longer than 255 characters");
    return text;
}

EventId event_id(JsonCursor& cursor) {
    std::string text = cursor.string("event_id");
    if (text.empty() || !is_identifier(text)) throw JsonError("event_id: empty or longer than 255 characters");
    // Two of them must not become one.
    if (text.find('\0') != text.npos || text.find(replacement_character) != text.npos) throw JsonError("event_id: not text");
    return EventId{std::move(text)};
}

std::int64_t timestamp(JsonCursor& cursor) {
    std::string_view digits = cursor.skip();
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
    return error == std::errc{} && end == digits.end() ? value : 0;
}

std::optional<EventId> redaction_target(JsonCursor& cursor) {
    auto text = string_if_it_is_one(cursor);
    if (!text || text->empty() || !is_identifier(*text)) return std::nullopt;
    return EventId{storable_text(*text)};
}

// What we want to know of `content`, of the few types where we do.
void read_content(Event& event, std::string_view content) {
    JsonCursor cursor(content);
    if (event.type == "m.room.create") event.room_version = "1";
    if (cursor.kind() != JsonKind::object) return;
    cursor.object("content", [&](std::string_view name, JsonCursor& value) {
        if (event.type == "m.room.member" && name == "membership") {
            event.membership = storable_text(string_if_it_is_one(value).value_or(""));
        } else if (event.type == "m.room.create" && name == "room_version") {
            event.room_version = storable_text(string_if_it_is_one(value).value_or("1"));
        } else if (event.type == "m.room.create" && name == "type") {
            event.room_type = storable_text(string_if_it_is_one(value).value_or(""));
        } else if (event.type == "m.room.redaction" && name == "redacts" && !event.redacts) {
            event.redacts = redaction_target(value);
        }
    });
}

bool has_known_content(std::string_view type) {
    return type == "m.room.member" || type == "m.room.create" || type == "m.room.redaction";
}

}  // namespace

bool is_identifier(std::string_view text) {
    if (text.size() <= longest_identifier) return true;
    auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    return text.size() <= 4 * longest_identifier &&
           text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), continues)) <= longest_identifier;
}

bool comes_redacted(const Event& event) {
    if (event.body.find("\"redacted_because\"") == std::string::npos) return false;
    bool redacted = false;
    JsonCursor(event.body).object("event", [&](std::string_view member, JsonCursor& value) {
        if (member != "unsigned" || value.kind() != JsonKind::object) return;
        value.object("unsigned", [&](std::string_view name, JsonCursor&) { redacted = redacted || name == "redacted_because"; });
    });
    return redacted;
}

Event read_event(JsonCursor& cursor) {
    Event event;
    std::optional<std::string> type;
    std::optional<EventId> redacts;
    std::string_view content = "null";
    rewrite_object(cursor, "event", event.body, [&](std::string_view name, JsonCursor& value) -> Rewrite {
        if (name == "unsigned") {
            event.transaction_id.reset();
            return without_unshared(value, redactions_in_each_other, &event);
        }
        if (name == "age") return {Rewrite::drop};
        if (name == "event_id") {
            event.event_id = event_id(value);
        } else if (name == "type") {
            type = identifier(value, "type");
        } else if (name == "sender") {
            event.sender = UserId{identifier(value, "sender")};
        } else if (name == "state_key" && value.kind() != JsonKind::null) {
            event.state_key = value.text("state_key");
        } else if (name == "origin_server_ts") {
            event.origin_server_ts = timestamp(value);
        } else if (name == "redacts") {
            redacts = redaction_target(value);
        } else if (name == "content") {
            content = value.skip();
        }
        return {};
    });
    if (event.event_id.empty()) throw JsonError("event_id: missing");
    if (!type) throw JsonError("type: missing");
    if (event.sender.empty()) throw JsonError("sender: missing");
    event.type = std::move(*type);
    if (event.type == "m.room.redaction") event.redacts = std::move(redacts);
    if (has_known_content(event.type)) read_content(event, content);
    return event;
}

}  // namespace matrix_sync
