#include "core/streams/room_json.hpp"

#include <algorithm>
#include <iterator>

#include "core/classic/answer.hpp"
#include "core/json/writer.hpp"
#include "core/rooms/views.hpp"
#include "core/streams/event_json.hpp"
#include "core/streams/stream.hpp"
#include "core/streams/timeline.hpp"

namespace matrix_sync {

namespace {

/// Rooms that are read at once.
constexpr std::size_t kAtOnce = 50;

/// Everything that one room shows.
struct Contents {
    RoomView view;
    ShownTimeline timeline;
    std::vector<std::string> state;
};

std::string short_json(const ShownRoom& room) {
    JsonWriter json;
    json.object().key("room_id").string(room.row.room.value);
    if (room.form == RoomForm::place) {
        json.key("membership").string(membership_of(room.row));
    } else {
        json.key("listed").boolean(false);
    }
    json.end_object();
    return json.take();
}

void write_optional(JsonWriter& json, std::string_view key, const std::optional<std::string>& value) {
    if (value) json.key(key).string(*value);
}

void write_heroes(JsonWriter& json, const std::vector<Hero>& heroes) {
    json.key("heroes").array();
    for (const Hero& hero : heroes) {
        json.object().key("user_id").string(hero.user.value);
        write_optional(json, "displayname", hero.displayname);
        write_optional(json, "avatar_url", hero.avatar_url);
        json.end_object();
    }
    json.end_array();
}

void write_looks(JsonWriter& json, const RoomRow& row, const RoomView& view, const UserId& user) {
    const RoomLook look = look_at(row, user);
    json.key("room_id").string(row.room.value).key("name").string(view.name);
    if (!view.avatar_url.empty()) json.key("avatar_url").string(view.avatar_url);
    write_heroes(json, view.heroes);
    json.key("membership").string(membership_of(row));
    if (!view.type.empty()) json.key("room_type").string(view.type);
    json.key("is_dm").boolean(row.direct).key("is_encrypted").boolean(view.encrypted);
    json.key("tags").raw(row.tags.empty() ? "{}" : row.tags).key("marked_unread").boolean(row.marked_unread);
    json.key("timestamp").number(row.timestamp);
    json.key("highlight_count").number(look.highlights).key("notification_count").number(look.notifications);
}

std::string whole_json(const RoomRow& row, const Contents& contents, const UserId& user) {
    JsonWriter json;
    json.object();
    write_looks(json, row, contents.view, user);
    if (!is_stripped(row)) json.key("joined_count").number(contents.view.joined).key("invited_count").number(contents.view.invited);
    if (row.section == Section::invite || row.section == Section::knock) {
        json.key(row.section == Section::invite ? "invite_state" : "knock_state").object();
        json.key("events").raw(row.stripped.empty() ? "[]" : row.stripped).end_object();
    } else {
        json.key("state_after").raw(events_json(contents.state)).key("timeline").raw(contents.timeline.json());
    }
    json.end_object();
    return json.take();
}

Task<std::vector<std::string>> read_state(Reading& reading, const RequiredState& required, const RoomRow& row) {
    std::vector<std::string> state = co_await state_events(reading, required, row.state);
    // Members are those of now, which is not for who has left.
    std::set<std::string> users;
    if (row.section == Section::join) users = required.members();
    if (row.section == Section::leave) std::ranges::transform(state, state.begin(), without_redaction);
    std::vector<std::string> members = co_await member_events(reading, row.key, std::move(users));
    std::ranges::move(members, std::back_inserter(state));
    co_return state;
}

/// As many as rows. Of a room that was left, what came up to the leave.
Task<std::vector<ShownTimeline>> read_timelines(Reading& reading, const std::vector<RoomRow>& rows, Position end, int limit) {
    std::vector<ShownTimeline> timelines(rows.size());
    std::vector<RoomRow> joined;
    std::vector<std::size_t> places;
    Position to = end;
    TimelineFilter all;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const RoomRow& row = rows[i];
        if (row.section == Section::join) {
            places.push_back(i);
            joined.push_back(row);
            to = std::max(to, row.seq);
        } else if (row.section == Section::leave) {
            std::vector<RoomRow> left = {row};
            std::vector<ShownTimeline> shown = co_await last_timelines(reading, std::move(left), row.entered, all, limit);
            timelines[i] = std::move(shown.front());
            std::ranges::transform(timelines[i].events, timelines[i].events.begin(), without_redaction);
        }
    }
    if (joined.empty()) co_return timelines;
    std::vector<ShownTimeline> shown = co_await last_timelines(reading, std::move(joined), to, all, limit);
    for (std::size_t i = 0; i < shown.size(); ++i) timelines[places[i]] = std::move(shown[i]);
    co_return timelines;
}

Task<std::vector<Contents>> read_contents(Reading& reading, const RoomListTerms& terms, const std::vector<RoomRow>& rows, Position end) {
    std::vector<RoomRow> copy = rows;
    std::vector<RoomView> views = co_await view_rooms(reading, std::move(copy));
    std::vector<ShownTimeline> timelines = co_await read_timelines(reading, rows, end, terms.timeline_limit);
    std::vector<Contents> contents(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        contents[i].view = std::move(views[i]);
        contents[i].timeline = std::move(timelines[i]);
        if (!terms.required.empty() && !is_stripped(rows[i])) contents[i].state = co_await read_state(reading, terms.required, rows[i]);
    }
    co_return contents;
}

}  // namespace

Task<std::size_t> append_rooms(Reading& reading, const RoomListTerms& terms, std::vector<ShownRoom> rooms, Position end, std::string& out) {
    std::size_t done = 0;
    std::size_t bytes = 0;
    while (done < rooms.size() && bytes < kMostBytes) {
        const std::size_t until = std::min(rooms.size(), done + kAtOnce);
        std::vector<RoomRow> whole;
        for (std::size_t i = done; i < until; ++i) {
            if (rooms[i].form == RoomForm::whole) whole.push_back(rooms[i].row);
        }
        std::vector<Contents> contents = co_await read_contents(reading, terms, whole, end);
        auto next = contents.begin();
        for (; done < until && bytes < kMostBytes; ++done) {
            const ShownRoom& room = rooms[done];
            std::string json = room.form == RoomForm::whole ? whole_json(room.row, *next++, reading.device.user) : short_json(room);
            if (done > 0) out += ',';
            out += json;
            bytes += json.size();
        }
        if (done < rooms.size()) co_await loop_pause(reading.loop);
    }
    co_return done;
}

}  // namespace matrix_sync
