#include "core/classic/room.hpp"

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

std::vector<Event> events(JsonCursor& cursor, const char* what) {
    std::vector<Event> all;
    for_events(cursor, what, [&](JsonCursor& event) { all.push_back(read_event(event)); });
    return all;
}

std::vector<std::string> raw_events(JsonCursor& cursor, const char* what) {
    std::vector<std::string> all;
    for_events(cursor, what, [&](JsonCursor& event) { all.emplace_back(event.slice(JsonKind::object, what)); });
    return all;
}

std::string raw_object(JsonCursor& cursor, const char* what) {
    return is_null(cursor) ? std::string() : std::string(cursor.slice(JsonKind::object, what));
}

void read_timeline(RoomPart& part, JsonCursor& cursor) {
    part.timeline.clear();
    part.limited = false;
    part.prev_batch.reset();
    if (is_null(cursor)) return;
    cursor.object("timeline", [&](std::string_view name, JsonCursor& value) {
        if (is_null(value)) return;
        if (name == "limited") part.limited = value.boolean("timeline.limited");
        if (name == "prev_batch") part.prev_batch = value.text("timeline.prev_batch");
        if (name != "events") return;
        part.timeline.clear();
        value.array("timeline.events", [&](JsonCursor& event) { part.timeline.push_back(read_event(event)); });
    });
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

void read_state(RoomPart& part, std::string_view name, JsonCursor& cursor) {
    bool after = name != "state";
    if (is_null(cursor) || (part.state_is_after && !after)) return;
    part.state = events(cursor, "state");
    part.state_is_after = after;
}

void read_joined_member(RoomPart& part, std::string_view name, JsonCursor& value) {
    if (name == "timeline") return read_timeline(part, value);
    if (name == "state" || name == "state_after" || name == "org.matrix.msc4222.state_after") return read_state(part, name, value);
    if (name == "ephemeral") return read_ephemerals(part, value);
    if (name == "account_data") part.account_data = raw_events(value, "account_data");
    if (name == "summary") part.summary = raw_object(value, "summary");
    if (name == "unread_notifications") part.unread_notifications = raw_object(value, "unread_notifications");
    if (name == "unread_thread_notifications") part.unread_thread_notifications = raw_object(value, "unread_thread_notifications");
}

void read_member(RoomPart& part, std::string_view name, JsonCursor& value) {
    switch (part.section) {
        case Section::join:
        case Section::leave:
            return read_joined_member(part, name, value);
        case Section::invite:
            if (name == "invite_state") part.stripped_state = raw_events(value, "invite_state");
            return;
        case Section::knock:
            if (name == "knock_state") part.stripped_state = raw_events(value, "knock_state");
    }
}

// Takes the text's one value as it is.
struct Whole : JsonReader::Handler {
    JsonReader::Want member(std::string_view) override { return JsonReader::Want::skip; }
    JsonReader::Want element() override { return JsonReader::Want::slice; }
    void entered(JsonKind) override {}
    void left() override {}
    void slice(std::string_view, std::size_t deepest) override { depth = deepest; }
    void scalar(JsonKind) override {}

    std::size_t depth = 0;
};

}  // namespace

RoomPart broken_room(RoomId room, Section section, std::string_view json, std::string why) {
    RoomPart part;
    part.room = std::move(room);
    part.section = section;
    part.raw = json;
    part.broken = std::move(why);
    return part;
}

RoomPart read_room(RoomId room, Section section, std::string_view json, std::size_t depth) {
    if (depth > deepest_room) return broken_room(std::move(room), section, json, "too deep");
    if (!is_utf8(json)) return broken_room(std::move(room), section, json, "not UTF-8");
    RoomPart part;
    part.section = section;
    try {
        JsonCursor cursor(json);
        cursor.object("room", [&](std::string_view name, JsonCursor& value) { read_member(part, name, value); });
    } catch (const JsonError& error) {
        return broken_room(std::move(room), section, json, error.what());
    }
    part.room = std::move(room);
    part.raw = json;
    return part;
}

RoomPart parse_room(RoomId room, Section section, std::string_view raw) {
    Whole whole;
    try {
        JsonReader reader(whole, deepest_room);
        reader.feed(raw);
        reader.finish();
    } catch (const JsonError& error) {
        return broken_room(std::move(room), section, raw, error.what());
    }
    return read_room(std::move(room), section, raw, whole.depth);
}

}  // namespace matrix_sync
