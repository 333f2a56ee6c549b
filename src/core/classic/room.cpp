// Reads one room of an answer.
#include <algorithm>

#include "core/classic/event.hpp"
#include "core/classic/parser.hpp"
#include "core/json/reader.hpp"
#include "core/json/text.hpp"

namespace matrix_sync {

namespace {

// Deeper than any event that a homeserver would take from another.
constexpr std::size_t deepest_room = 1000;

// Some servers write null for what is absent.
bool is_null(const JsonCursor& value) {
    return value.kind() == JsonKind::null;
}

// Calls each(cursor) for every element of the `events` in the object the cursor stands before.
template <class Each>
void for_events(JsonCursor& cursor, const char* what, Each&& each) {
    if (is_null(cursor)) return;
    cursor.object(what, [&](std::string_view name, JsonCursor& value) {
        if (name == "events" && !is_null(value)) value.array(what, each);
    });
}

/// The cursor stands before an array of events, or before null.
Task<void> read_events(JsonCursor& cursor, const char* what, std::vector<Event>& events, Slices& slices) {
    if (is_null(cursor)) co_return;
    for (JsonElements elements(cursor, what); elements.next();) {
        const char* begin = cursor.position();
        events.push_back(read_event(cursor));
        if (slices.over(static_cast<std::size_t>(cursor.position() - begin))) co_await slices.pause();
    }
}

std::vector<std::string> raw_events(JsonCursor& cursor, const char* what) {
    std::vector<std::string> all;
    for_events(cursor, what, [&](JsonCursor& event) { all.emplace_back(event.slice(JsonKind::object, what)); });
    return all;
}

std::string raw_object(JsonCursor& cursor, const char* what) {
    return is_null(cursor) ? std::string() : std::string(cursor.slice(JsonKind::object, what));
}

Task<void> read_timeline(RoomPart& part, JsonCursor& cursor, Slices& slices) {
    part.timeline.clear();
    part.limited = false;
    part.prev_batch.reset();
    if (is_null(cursor)) co_return;
    for (JsonMembers members(cursor, "timeline"); members.next();) {
        if (is_null(cursor)) continue;
        if (members.name() == "limited") part.limited = cursor.boolean("timeline.limited");
        if (members.name() == "prev_batch") part.prev_batch = cursor.text("timeline.prev_batch");
        if (members.name() != "events") continue;
        part.timeline.clear();
        co_await read_events(cursor, "timeline.events", part.timeline, slices);
    }
}

// Of an EDU's members only those two matter.
struct Ephemeral {
    std::string type;
    std::string_view content = "null";
};

Ephemeral read_ephemeral(std::string_view json) {
    Ephemeral edu;
    JsonCursor cursor(json);
    cursor.object("ephemeral", [&](std::string_view name, JsonCursor& value) {
        if (name == "type") edu.type = value.string("ephemeral.type");
        if (name == "content") edu.content = value.skip();
    });
    return edu;
}

std::vector<std::string> read_typists(std::string_view content) {
    std::vector<std::string> typists;
    JsonCursor cursor(content);
    cursor.object("m.typing", [&](std::string_view name, JsonCursor& value) {
        if (name != "user_ids" || is_null(value)) return;
        typists.clear();
        value.array("m.typing", [&](JsonCursor& user) { typists.push_back(user.text("m.typing")); });
    });
    return typists;
}

void read_ephemerals(RoomPart& part, JsonCursor& cursor) {
    part.typing.reset();
    part.receipts.clear();
    for_events(cursor, "ephemeral", [&](JsonCursor& value) {
        std::string_view json = value.slice(JsonKind::object, "ephemeral");
        Ephemeral edu = read_ephemeral(json);
        if (edu.type == "m.typing") part.typing = read_typists(edu.content);
        if (edu.type == "m.receipt") part.receipts.emplace_back(json);
    });
}

Task<void> read_state(RoomPart& part, bool after, JsonCursor& cursor, Slices& slices) {
    if (is_null(cursor) || (part.state_is_after && !after)) co_return;
    part.state.clear();
    part.state_is_after = after;
    for (JsonMembers members(cursor, "state"); members.next();) {
        if (members.name() != "events") continue;
        co_await read_events(cursor, "state", part.state, slices);
    }
}

void read_facts(RoomPart& part, std::string_view name, JsonCursor& value) {
    if (name == "ephemeral") return read_ephemerals(part, value);
    if (name == "account_data") part.account_data = raw_events(value, "account_data");
    if (name == "summary") part.summary = raw_object(value, "summary");
    if (name == "unread_notifications") part.unread_notifications = raw_object(value, "unread_notifications");
    if (name == "unread_thread_notifications") part.unread_thread_notifications = raw_object(value, "unread_thread_notifications");
}

Task<void> read_member(RoomPart& part, std::string_view name, JsonCursor& value, Slices& slices) {
    if (part.section == Section::invite) {
        if (name == "invite_state") part.stripped_state = raw_events(value, "invite_state");
    } else if (part.section == Section::knock) {
        if (name == "knock_state") part.stripped_state = raw_events(value, "knock_state");
    } else if (name == "timeline") {
        co_await read_timeline(part, value, slices);
    } else if (name == "state") {
        co_await read_state(part, false, value, slices);
    } else if (name == "state_after" || name == "org.matrix.msc4222.state_after") {
        co_await read_state(part, true, value, slices);
    } else {
        read_facts(part, name, value);
    }
}

Task<bool> all_utf8(std::string_view text, Slices& slices) {
    constexpr std::size_t at_once = 64 * 1024;
    while (!text.empty()) {
        std::size_t length = std::min(text.size(), at_once);
        // Up to where a character begins.
        while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) ++length;
        if (!is_utf8(text.substr(0, length))) co_return false;
        text.remove_prefix(length);
        if (slices.over(length / 8)) co_await slices.pause();
    }
    co_return true;
}

/// Nothing of it is wanted: whether it is JSON, and not too deep, is what the reader looks at.
struct Nothing : JsonReader::Handler {
    JsonReader::Want member(std::string_view) override { return JsonReader::Want::skip; }
    JsonReader::Want element() override { return JsonReader::Want::skip; }
    void entered(JsonKind) override {}
    void left() override {}
    void slice(std::string_view, std::size_t) override {}
    void scalar(JsonKind) override {}
};

RoomPart broken_room(RawRoom room, std::string why) {
    RoomPart part;
    part.room = std::move(room.room);
    part.section = room.section;
    part.raw = std::move(room.json);
    part.broken = std::move(why);
    return part;
}

/// Why it cannot be read; empty when it can.
Task<std::string> read(RoomPart& part, std::string_view json, Slices& slices) {
    std::string why;
    try {
        JsonCursor cursor(json);
        for (JsonMembers members(cursor, "room"); members.next();) co_await read_member(part, members.name(), cursor, slices);
    } catch (const JsonError& error) {
        why = error.what();
    }
    co_return why;
}

}  // namespace

Task<RoomPart> read_room(RawRoom room, Slices& slices) {
    if (room.depth > deepest_room) co_return broken_room(std::move(room), "too deep");
    const bool utf8 = co_await all_utf8(room.json, slices);
    if (!utf8) co_return broken_room(std::move(room), "not UTF-8");
    RoomPart part;
    part.section = room.section;
    std::string why = co_await read(part, room.json, slices);
    if (!why.empty()) co_return broken_room(std::move(room), std::move(why));
    part.room = std::move(room.room);
    part.raw = std::move(room.json);
    co_return part;
}

Task<RoomPart> parse_room(RoomId id, Section section, std::string raw, Slices& slices) {
    RawRoom room{std::move(id), section, std::move(raw), 0};
    Nothing nothing;
    std::string why;
    try {
        JsonReader reader(nothing, deepest_room);
        constexpr std::size_t at_once = 64 * 1024;
        for (std::string_view rest = room.json; !rest.empty(); rest.remove_prefix(std::min(rest.size(), at_once))) {
            reader.feed(rest.substr(0, at_once));
            if (slices.over(std::min(rest.size(), at_once) / 4)) co_await slices.pause();
        }
        reader.finish();
    } catch (const JsonError& error) {
        why = error.what();
    }
    if (!why.empty()) co_return broken_room(std::move(room), std::move(why));
    co_return co_await read_room(std::move(room), slices);
}

}  // namespace matrix_sync
