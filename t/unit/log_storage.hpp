// A database with the devices' logs in it, and short ways to write answers of a homeserver and to read what became of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "blocking_database.hpp"
#include "core/classic/parser.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "storage/logs.hpp"
#include "storage/rooms.hpp"
#include "storage/schema.hpp"
#include "watched_database.hpp"
// Last, because of Check's macros.
#include <check.h>

#include "assert_text.hpp"

namespace matrix_sync {

/// A database with its logs.
struct Storage {
    explicit Storage(std::string conninfo = postgres().fresh_database()) : database(conninfo), watched(database) {
        complete(migrate(database));
        database.execute(
            "INSERT INTO worker (name, alive_until) VALUES ('one', now() + interval '1 hour'), ('two', now() + interval '1 hour')");
    }

    Lease device(const std::string& device, const std::string& user = "@u:world", WorkerKey worker = WorkerKey{1}) {
        DeviceRow row = complete(logs.device(UserId{user}, DeviceId{device}));
        return claim(row.key, worker);
    }
    Lease claim(DeviceKey device, WorkerKey worker = WorkerKey{1}) {
        auto claimed = complete(logs.claim(device, worker));
        ck_assert_msg(claimed.lease.has_value(), "the log is not to be had");
        return *claimed.lease;
    }

    std::optional<RoomKey> room(const std::string& id) {
        RoomKey key{std::stoll(database.value("SELECT coalesce(max(id), 0) FROM room WHERE room_id = '" + id + "'"))};
        return key ? std::optional(key) : std::nullopt;
    }
    StateMap state(StateKey key) { return complete(rooms.states({key}))[key]; }
    std::vector<Entry> last(DeviceKey device, RoomKey room, Position to, int most) {
        return complete(rooms.last(device, {room}, to, most));
    }
    std::vector<Entry> entries(DeviceKey device, const std::string& room_id, Position from = {}, Position to = Position{INT64_MAX}) {
        auto key = room(room_id);
        if (!key) return {};
        return complete(rooms.entries(device, *key, from, to));
    }
    std::string event_ids(const std::vector<EventRef>& refs) {
        std::string ids;
        for (const StoredEvent& event : complete(rooms.events(refs))) ids += (ids.empty() ? "" : " ") + event.event_id.value;
        return ids;
    }
    /// "section events" of each entry of a room, a gap marked by `|`.
    std::string told(DeviceKey device, const std::string& room_id) {
        std::string text;
        for (const Entry& entry : entries(device, room_id)) {
            text += (text.empty() ? "" : "; ") + std::string(entry.gap ? "|" : "") + std::to_string(static_cast<int>(entry.section)) + ":" +
                    event_ids(entry.events);
        }
        return text;
    }
    std::string body(const std::string& event_id) {
        return database.value("SELECT convert_from(body, 'UTF8') FROM event WHERE event_id = '" + event_id + "'");
    }
    std::string count(const std::string& from) { return database.value("SELECT count(*) FROM " + from); }

    BlockingDatabase database;
    WatchedDatabase watched;
    std::vector<std::string> lines;
    FakeLoop loop;
    PostgresLogs logs{watched, loop, [this](const std::string& line) { lines.push_back(line); }};
    PostgresRooms rooms{watched};
};

inline Event event(const std::string& id, const std::string& type = "m.room.message", std::optional<std::string> state_key = std::nullopt) {
    Event event;
    event.event_id = EventId{id};
    event.type = type;
    event.state_key = std::move(state_key);
    event.sender = UserId{"@x:world"};
    event.body = R"({"type":")" + type + R"(","event_id":")" + id + R"(","content":{"body":"text of )" + id + R"("}})";
    return event;
}

inline Event create(const std::string& room) {
    Event create = event("$create" + room, "m.room.create", "");
    create.room_version = "10";
    return create;
}

inline Event redaction(const std::string& id, const std::string& target) {
    Event redaction = event(id, "m.room.redaction");
    redaction.redacts = EventId{target};
    return redaction;
}

/// `{"event_id": …, …}` as the parser reads it again.
inline std::string raw_of(const RoomPart& part) {
    auto text_of = [](const Event& event) {
        std::string state_key = event.state_key ? R"(,"state_key":")" + *event.state_key + '"' : "";
        return R"({"event_id":")" + event.event_id.value + R"(","type":")" + event.type + '"' + state_key +
               R"(,"sender":"@x:world","content":{},"origin_server_ts":1})";
    };
    auto array_of = [&](const std::vector<Event>& events) {
        std::string text;
        for (const Event& event : events) text += (text.empty() ? "" : ",") + text_of(event);
        return "[" + text + "]";
    };
    return R"({"timeline":{"events":)" + array_of(part.timeline) + R"(,"limited":)" + (part.limited ? "true" : "false") +
           R"(},"state":{"events":)" + array_of(part.state) + "}}";
}

inline RoomPart part(const std::string& room, std::vector<Event> timeline, std::vector<Event> state = {}, Section section = Section::join) {
    RoomPart part;
    part.room = RoomId{room};
    part.section = section;
    part.timeline = std::move(timeline);
    part.state = std::move(state);
    part.prev_batch = "before";
    part.raw = raw_of(part);
    return part;
}

inline LogStore::Piece piece(Lease lease, std::optional<std::string> from, std::vector<RoomPart> rooms,
                             std::optional<std::string> next = "next") {
    LogStore::Piece piece;
    piece.lease = lease;
    piece.from = std::move(from);
    piece.rooms = std::move(rooms);
    if (next) {
        piece.rest = std::make_unique<AnswerRest>();
        piece.rest->next_batch = *next;
    }
    return piece;
}

inline LogStore::Ingested ingest(Storage& storage, LogStore::Piece piece) {
    return complete(storage.logs.ingest(std::move(piece)), [&] { storage.loop.turn(); });
}

inline LogStore::Ingested ingest_aside(Storage& storage, Lease lease, RoomId room, std::vector<Event> state) {
    return complete(storage.logs.ingest_aside(lease, std::nullopt, std::move(room), std::move(state)), [&] { storage.loop.turn(); });
}

inline std::vector<RoomPart> one(RoomPart part) {
    std::vector<RoomPart> parts;
    parts.push_back(std::move(part));
    return parts;
}

inline bool same_entry(const Entry& a, const Entry& b) {
    return a.seq == b.seq && a.room_key == b.room_key && a.room == b.room && a.section == b.section && a.events == b.events &&
           a.transaction_ids == b.transaction_ids && a.gap == b.gap && a.limited == b.limited && a.prev_batch == b.prev_batch &&
           a.next_batch == b.next_batch && a.state == b.state && a.typing == b.typing;
}

/// What a reader of the log gets is what the ingest said it added.
inline void assert_read_back(Storage& storage, DeviceKey device, const News& news) {
    News read = complete(storage.logs.news(device, news.from));
    ck_assert(read.to == news.to);
    ck_assert_uint_eq(read.entries.size(), news.entries.size());
    for (std::size_t i = 0; i < read.entries.size(); ++i) ck_assert(same_entry(read.entries[i], news.entries[i]));
    ck_assert_uint_eq(read.to_device.size(), news.to_device.size());
    ck_assert_uint_eq(read.account_data.size(), news.account_data.size());
    ck_assert_uint_eq(read.device_lists.size(), news.device_lists.size());
    ck_assert(read.key_counts.has_value() == news.key_counts.has_value());
    ck_assert(read.whole == news.whole);
}

/// A room's first part: everything in the block.
inline RoomPart first_part(const std::string& room, std::vector<Event> timeline) {
    return part(room, std::move(timeline), {create(room), event("$name" + room, "m.room.name", "")});
}

/// PostgreSQL refuses events of one type, as it would an index entry too large.
inline void refuse_poison(Storage& storage) {
    storage.database.execute(R"(
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE program_limit_exceeded; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.type = 'org.poison') EXECUTE FUNCTION refuse())");
}

}  // namespace matrix_sync
