// room_list {spaces, filters, required_state, timeline_limit, p}: the user's rooms, by pages and then by changes.
#include <algorithm>
#include <span>
#include <unordered_map>

#include "core/classic/answer.hpp"
#include "core/json/writer.hpp"
#include "core/streams/room_choice.hpp"
#include "core/streams/room_json.hpp"
#include "core/streams/room_list_terms.hpp"
#include "core/streams/stream.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

class RoomListStream : public Stream {
  public:
    explicit RoomListStream(const Fields& fields) : terms_(fields) {}

    Json params() const override { return terms_.params; }
    Cursor start(Position since) const override { return {since}; }
    bool continues(const Stream&) const override { return true; }
    bool shows_present() const override { return false; }

    bool has_news(const Device& device, const Cursor& cursor, Show show) const override {
        // A room may be ahead of the log's end: its news come when the end does.
        return show == Show::first_page || std::min(device.listed(), device.end()) > cursor.at;
    }

    Task<Cursor> read(Reading& reading, Cursor cursor, Show show, std::string& out) const override {
        if (!has_news(reading.device, cursor, show)) {
            const Position end = reading.device.end();
            if (end > cursor.at) cursor = {end, 0, cursor.paged};
            co_return cursor;
        }
        if (show == Show::first_page) co_return co_await read_first_page(reading, out);
        co_return co_await read_changes(reading, cursor, show, out);
    }

    Task<void> read_page(Reading& reading, std::string text, std::string& out) const override {
        RoomListPageToken token = RoomListPageToken::decode(text);
        std::optional<Snapshot> snapshot = co_await reading.store.snapshot(reading.session, Paged::room_list, token.snapshot);
        if (!snapshot || snapshot->params != terms_.snapshot_params() || token.offset >= snapshot->count) throw no_such_list_page();
        auto ignored = co_await reading.device.ignored_users();
        co_await reading.device.load_rooms();
        const Position end = reading.device.end();
        std::span<const RoomKey> keys = std::span(snapshot->rooms).subspan(static_cast<std::size_t>(token.offset));
        keys = keys.first(std::min(keys.size(), static_cast<std::size_t>(terms_.limit)));
        std::vector<std::size_t> places;
        std::vector<ShownRoom> rooms = rooms_of(reading.device, keys, *ignored, places);
        out += R"({"rooms":[)";
        const std::size_t done = co_await append_rooms(reading, terms_, std::move(rooms), end, out);
        token.offset += static_cast<std::int64_t>(done < places.size() ? places[done] : keys.size());
        finish_page(out, snapshot->count, token);
    }

  private:
    Task<Cursor> read_first_page(Reading& reading, std::string& out) const {
        RoomChoice choice(reading, terms_);
        co_await choice.prepare(std::nullopt);
        const Position end = reading.device.end();
        Snapshot snapshot;
        std::vector<ShownRoom> rooms;
        for (const ListedRoom& room : choice.in_order()) {
            snapshot.rooms.push_back(room.row->key);
            if (rooms.size() < static_cast<std::size_t>(terms_.limit)) rooms.push_back({*room.row, RoomForm::whole});
        }
        snapshot.count = std::ssize(snapshot.rooms);
        out += R"({"rooms":[)";
        RoomListPageToken next;
        const std::size_t done = co_await append_rooms(reading, terms_, std::move(rooms), end, out);
        next.offset = static_cast<std::int64_t>(done);
        const std::int64_t count = snapshot.count;
        if (next.offset < count) {
            snapshot.params = terms_.snapshot_params();
            next.snapshot = co_await reading.store.add_snapshot(reading.session, Paged::room_list, std::move(snapshot));
        }
        finish_page(out, count, next);
        co_return Cursor{end, 0, true};
    }

    void finish_page(std::string& out, std::int64_t count, const RoomListPageToken& next) const {
        out += "],";
        JsonWriter json;
        json.key("p").object().key("limit").number(terms_.limit).key("sort").raw(terms_.used_sort.dump()).key("count").number(count);
        if (next.offset < count) json.key("next").string(next.encode());
        json.end_object();
        out += json.take() + '}';
    }

    Task<Cursor> read_changes(Reading& reading, Cursor cursor, Show show, std::string& out) const {
        RoomChoice choice(reading, terms_);
        co_await choice.prepare(cursor.at);
        const Position end = reading.device.end();
        const std::size_t most = static_cast<std::size_t>(terms_.limit);
        std::vector<ListChange> changes = choice.changes(cursor, most);
        std::vector<ShownRoom> rooms;
        std::vector<std::size_t> behind;  // the changes up to each room
        std::size_t looked = 0;
        while (looked < changes.size() && rooms.size() < most) {
            std::optional<ShownRoom> room = co_await shown(reading, changes[looked++], cursor.at);
            if (!room) continue;
            rooms.push_back(std::move(*room));
            behind.push_back(looked);
        }
        if (rooms.empty()) co_return Cursor{std::max(cursor.at, end), 0, cursor.paged};
        if (show == Show::changed_first_page) co_return co_await read_first_page(reading, out);
        out += R"({"rooms":[)";
        const std::size_t done = co_await append_rooms(reading, terms_, std::move(rooms), end, out);
        out += "]}";
        co_return choice.after(changes, done < behind.size() ? behind[done - 1] : looked, cursor, end);
    }

    /// None when it is nothing to this session after all.
    Task<std::optional<ShownRoom>> shown(Reading& reading, ListChange& change, Position since) const {
        std::optional<ShownRoom> room = ShownRoom{std::move(*change.row), RoomForm::whole};
        if (change.kind == ListChange::Kind::left) co_return co_await shown_left(reading, std::move(room->row), since);
        if (change.kind == ListChange::Kind::listed) co_return room;
        room->form = RoomForm::unlisted;
        if (change.kind == ListChange::Kind::entered) {
            const Position before{room->row.entered.value - 1};
            std::optional<Entry> known = co_await reading.store.newest(reading.device.key, room->row.key, before);
            if (!known) room.reset();
        }
        co_return room;
    }

    Task<std::optional<ShownRoom>> shown_left(Reading& reading, RoomRow row, Position since) const {
        std::optional<ShownRoom> room;
        std::optional<Entry> then = co_await reading.store.newest(reading.device.key, row.key, since);
        if (!then) co_return room;
        if (then->section == Section::leave) {
            // Entered and left again since. The session may have been told of other rooms before that first leave, and not of it.
            room = ShownRoom{std::move(row), RoomForm::unlisted};
            co_return room;
        }
        const bool invited = then->section == Section::invite;
        if (terms_.filters.is_invite && *terms_.filters.is_invite != invited) co_return room;
        const bool was_in = co_await was_joined(reading, row, *then, since);
        if (!was_in) {
            // Who was only invited has seen nothing of the room, and does not by declining.
            row.heads = {};
            row.state = {};
            row.summary.clear();
        }
        room = ShownRoom{std::move(row), RoomForm::whole};
        co_return room;
    }

    static Task<bool> was_joined(Reading& reading, const RoomRow& row, const Entry& then, Position since) {
        if (then.section == Section::join) co_return true;
        std::vector<Entry> entries = co_await reading.device.read_entries(row.key, since, row.entered);
        co_return std::ranges::any_of(entries, [](const Entry& entry) { return entry.section == Section::join; });
    }

    /// `places` are those of the rooms among the keys: one that is gone for good is not shown.
    static std::vector<ShownRoom> rooms_of(const Device& device, std::span<const RoomKey> keys, const std::set<std::string>& ignored,
                                           std::vector<std::size_t>& places) {
        std::unordered_map<RoomKey, const RoomRow*> rows;
        for (RoomKey key : keys) rows.emplace(key, nullptr);
        for (const auto& [id, row] : device.rooms()) {
            if (auto wanted = rows.find(row.key); wanted != rows.end()) wanted->second = &row;
        }
        std::vector<ShownRoom> rooms;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            const RoomRow* row = rows[keys[i]];
            if (!row) continue;
            const bool gone = row->section == Section::leave || ignored.contains(look_at(*row, device.user).inviter.value);
            rooms.push_back({*row, gone ? RoomForm::place : RoomForm::whole});
            places.push_back(i);
        }
        return rooms;
    }

    RoomListTerms terms_;
};

}  // namespace

std::unique_ptr<Stream> parse_room_list(const Json& params) {
    return std::make_unique<RoomListStream>(Fields(params, "room_list"));
}

}  // namespace matrix_sync
