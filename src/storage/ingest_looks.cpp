// What a device sees of its rooms now, as the answers change it: counts, receipts, summaries, invites, tags and the like, each with its
// place in the log, after the events that it belongs to (rule 18).
#include <algorithm>
#include <tuple>

#include "core/classic/event.hpp"
#include "core/json/cursor.hpp"
#include "core/json/writer.hpp"
#include "core/matrix/content.hpp"
#include "storage/ingest.hpp"
#include "storage/room_rows.hpp"

namespace matrix_sync {
namespace {

const Statement get_direct{"ingest_get_direct", R"sql(
    SELECT device, body FROM account_data WHERE device = ANY ($1::bigint[]) AND type = 'm.direct'
)sql"};

const Statement get_listed{"ingest_get_listed", "SELECT " MATRIX_SYNC_ROOM_COLUMNS " FROM " MATRIX_SYNC_ROOM_TABLES R"sql(
    WHERE d.device = $1::bigint AND (r.room_id = ANY ($2::text[]) OR ($3::boolean AND d.section = 3))
)sql"};

const Statement get_by_key{"ingest_get_by_key", "SELECT " MATRIX_SYNC_ROOM_COLUMNS " FROM " MATRIX_SYNC_ROOM_TABLES R"sql(
    WHERE d.device = $1::bigint AND d.room = ANY ($2::bigint[])
)sql"};

const Statement put_receipts_statement{"ingest_put_receipts", R"sql(
    INSERT INTO receipt (device, room, user_id, type, thread, event_id, seq, body)
    SELECT w.*
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[]) AS w
    ON CONFLICT (device, room, user_id, type, thread) DO UPDATE SET event_id = excluded.event_id, seq = excluded.seq, body = excluded.body
)sql"};

const Statement put_room_account_data_statement{"ingest_put_room_account_data", R"sql(
    INSERT INTO room_account_data (device, room, type, seq, body)
    SELECT w.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[]) AS w
    ON CONFLICT (device, room, type) DO UPDATE SET seq = excluded.seq, body = excluded.body
)sql"};

constexpr const char* direct_type = "m.direct";
constexpr const char* ignored_type = "m.ignored_user_list";

const AnswerRest::AccountData* account_data_of(const AnswerRest& rest, const char* type) {
    const AnswerRest::AccountData* last = nullptr;
    for (const AnswerRest::AccountData& event : rest.account_data) {
        if (event.type == type) last = &event;
    }
    return last;
}

bool is_object(JsonValue value) {
    return value && value->starts_with('{');
}

/// The newer object's members laid over the older one's.
std::string laid_over(const std::string& older, const std::string& newer) {
    std::map<std::string, std::string_view> members;
    for (const std::string* object : {&older, &newer}) {
        for (const auto& [name, value] : json_members(*object)) members[name] = value;
    }
    JsonWriter json;
    json.object();
    for (const auto& [name, value] : members) json.key(name).raw(value);
    json.end_object();
    return json.take();
}

std::string array_of(const std::vector<std::string>& events) {
    JsonWriter json;
    json.array();
    for (const std::string& event : events) json.raw(event);
    json.end_array();
    return json.take();
}

/// The user's own m.room.member event among stripped ones; empty: there is none.
std::string_view own_member(const std::vector<std::string>& events, const std::string& user) {
    for (const std::string& event : events) {
        const bool own = json_text(json_member(event, "type")) == "m.room.member" && json_text(json_member(event, "state_key")) == user;
        if (own) return event;
    }
    return {};
}

bool says_direct(const std::string& stripped, const std::string& user) {
    if (stripped.empty()) return false;
    std::vector<std::string> events;
    JsonCursor(stripped).array("stripped", [&](JsonCursor& event) { events.emplace_back(event.skip()); });
    return read_member(own_member(events, user)).is_direct;
}

bool names_power_levels(const std::vector<Event>& events) {
    return std::ranges::any_of(events, [](const Event& event) { return event.is_state("m.room.power_levels"); });
}

/// Whether the part says that the user was banned; nothing if it does not say how the user left.
std::optional<bool> says_banned(const RoomPart& part, const std::string& user) {
    std::optional<bool> banned;
    for (const auto* events : {&part.state, &part.timeline}) {
        for (const Event& event : *events) {
            if (event.is_state("m.room.member", user)) banned = event.membership == "ban";
        }
    }
    return banned;
}

/// What one work changes of a row.
struct Changes {
    bool any = false;
    bool listed = false;
    bool members = false;
    bool state = false;
    bool entered = false;
    bool direct = false;
    bool tags = false;
    bool summary = false;
    bool counts = false;
    bool receipts = false;
    bool account_data = false;

    void place(RoomRow& row, Position seq) const {
        row.seq = seq;
        auto at = [&](bool changed, Position RoomRow::*where) {
            if (changed) row.*where = seq;
        };
        at(entered, &RoomRow::entered);
        at(listed || entered || state || direct || tags || summary || counts, &RoomRow::listed);
        at(members || entered, &RoomRow::members);
        at(state || entered, &RoomRow::state_changed);
        at(direct, &RoomRow::direct_changed);
        at(tags, &RoomRow::tags_changed);
        at(summary, &RoomRow::summary_changed);
        at(counts, &RoomRow::counts_changed);
        at(receipts, &RoomRow::receipts_changed);
        at(account_data, &RoomRow::account_data_changed);
    }
    bool none() const {
        return !(any || listed || members || state || entered || direct || tags || summary || counts || receipts || account_data);
    }
};

template <class Value>
void set(Value& value, Value now, bool& changed) {
    if (value == now) return;
    value = std::move(now);
    changed = true;
}

void take_summary(RoomRow& row, const RoomPart& part, Changes& changes) {
    if (!part.summary.empty()) set(row.summary, laid_over(row.summary, part.summary), changes.summary);
    if (!part.unread_notifications.empty()) {
        set(row.notifications, part.unread_notifications, changes.counts);
        // Threads without unread events are not listed, and no list is one without any.
        const bool had_threads = !row.thread_notifications.empty();
        std::string threads = part.unread_thread_notifications.empty() && had_threads ? "{}" : part.unread_thread_notifications;
        set(row.thread_notifications, std::move(threads), changes.counts);
    }
}

void enter(RoomRow& row, Section section, Changes& changes) {
    if (row.section == section) return;
    row.section = section;
    changes.entered = true;
    row.banned = false;
    if (section == Section::leave) return;
    row.summary.clear();
    row.notifications.clear();
    row.thread_notifications.clear();
    row.stripped.clear();
}

void take_tags(RoomRow& row, const std::string& type, const std::string& event, Changes& changes) {
    if (type == "m.tag") {
        JsonValue tags = json_member(event_content(event), "tags");
        set(row.tags, is_object(tags) ? std::string(*tags) : std::string(), changes.tags);
    } else if (type == "m.marked_unread") {
        set(row.marked_unread, read_marked_unread(event), changes.listed);
    }
}

struct Receipts {
    /// (user, type, thread) → (event ID, the user's object)
    std::map<std::tuple<std::string, std::string, std::string>, std::pair<std::string, std::string>> by_name;

    void take(const std::string& edu) {
        for (const auto& [event, types] : json_members(event_content(edu))) {
            for (const auto& [type, users] : json_members(types)) {
                for (const auto& [user, body] : json_members(users)) add(event, type, user, body);
            }
        }
    }
    void add(const std::string& event, const std::string& type, const std::string& user, std::string_view body) {
        std::string thread = json_text(json_member(body, "thread_id")).value_or("");
        // They stand in one index entry: rule 33.
        const bool fits = type.size() + user.size() + thread.size() < 2000;
        const bool sound =
            is_object(body) && fits && is_identifier(event) && is_identifier(type) && is_identifier(user) && is_identifier(thread);
        if (sound) by_name[{user, type, std::move(thread)}] = {event, std::string(body)};
    }
};

}  // namespace

/// Needed where a room is new to a device, or m.direct changes.
Task<void> Ingestion::read_direct_rooms() {
    std::map<DeviceKey, std::size_t> needed;
    for (const RoomWork& work : works_) {
        const bool enters =
            !work.row || std::ranges::any_of(work.steps, [&](const Step& step) { return step.part->section != work.row->section; });
        if (enters) needed[deliveries_[work.delivery]->piece.lease.device] = work.delivery;
    }
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        const LogStore::Piece& piece = deliveries_[i]->piece;
        if (piece.rest && account_data_of(*piece.rest, direct_type)) needed[piece.lease.device] = i;
    }
    if (needed.empty()) co_return;
    std::vector<std::int64_t> devices;
    devices.reserve(needed.size());
    for (const auto& [device, delivery] : needed) devices.push_back(device.value);
    Params params;
    params.bigints(devices);
    Query query = sending_.ask(get_direct, std::move(params));
    Rows rows = co_await query;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        direct_rooms_[needed.at(DeviceKey{rows.bigint(row, 0)})] = matrix_sync::read_direct_rooms(rows.text(row, 1));
    }
}

/// After its entries are written, the last of them at `entries_end`; 0: there are none.
void Ingestion::change_row(RoomWork& work, Position entries_end) {
    if (!work.row && work.entries.empty()) return;
    // A room that was left is shown as it was then.
    auto leaves = [](const Step& step) { return step.part->section == Section::leave; };
    if (work.row && work.row->section == Section::leave && std::ranges::all_of(work.steps, leaves)) return;
    DeviceEnd& end = end_of(work.delivery);
    RoomRow row = work.row.value_or(RoomRow{});
    const bool fresh = !work.row;
    Changes changes;
    Receipts receipts;
    std::map<std::string, std::string> account_data;
    for (const Step& step : work.steps) {
        const RoomPart& part = *step.part;
        enter(row, part.section, changes);
        take_summary(row, part, changes);
        if (!part.stripped_state.empty()) set(row.stripped, array_of(part.stripped_state), changes.listed);
        if (auto banned = says_banned(part, end.user); banned && part.section == Section::leave) set(row.banned, *banned, changes.listed);
        changes.members = changes.members || names_power_levels(part.state) || names_power_levels(part.timeline) ||
                          std::ranges::any_of(part.timeline, &Event::is_member);
        for (const std::string& edu : part.receipts) receipts.take(edu);
        for (const std::string& event : part.account_data) {
            auto type = json_text(json_member(event, "type"));
            if (!type || !is_identifier(*type)) continue;
            take_tags(row, *type, event, changes);
            account_data[*type] = event;
        }
        const bool chat = part.section == Section::invite && read_member(own_member(part.stripped_state, end.user)).is_direct;
        if (fresh || changes.entered) set(row.direct, chat || direct_rooms_[work.delivery].contains(work.room), changes.direct);
        const std::size_t shown = shown_length(part, end.user);
        if (shown > 0 && !work.entries.empty()) row.timestamp = part.timeline[shown - 1].origin_server_ts;
        auto said = json_integer(json_member(own_member(part.stripped_state, end.user), "origin_server_ts"));
        if (said) row.timestamp = *said;
        const bool first_seen = fresh || (changes.entered && part.section != Section::join && part.section != Section::leave);
        if (first_seen && !said && shown == 0) row.timestamp = time_ / 1000;
    }
    for (const Entry& entry : work.entries) {
        changes.listed = changes.listed || !entry.events.empty() || entry.gap || entry.state_changed;
        // What was redacted may be state, or a member.
        changes.members = changes.members || entry.gap || entry.redacts;
        changes.state = changes.state || entry.state_changed || entry.redacts;
        row.state = entry.state;
    }
    if (changes.state) row.heads = heads_[row.state];
    changes.receipts = !receipts.by_name.empty();
    changes.account_data = !account_data.empty();
    if (changes.none()) return;

    const Position seq = entries_end.value > 0 ? entries_end : next_position(work.delivery);
    row.key = work.key;
    row.room = work.room;
    row.version = kinds_[work.room].version.value_or("1");
    row.type = kinds_[work.room].type;
    changes.place(row, seq);
    const DeviceKey device = deliveries_[work.delivery]->piece.lease.device;
    for (auto& [name, receipt] : receipts.by_name) {
        const auto& [user, type, thread] = name;
        receipts_.push_back({device, work.key, seq, user, type, thread, std::move(receipt.first), std::move(receipt.second)});
    }
    for (auto& [type, body] : account_data) room_account_data_.push_back({device, work.key, seq, type, std::move(body)});
    end.rooms[row.key] = std::move(row);
}

/// No entry tells of them.
void Ingestion::change_members(RoomWork& work) {
    if (!work.row) return;
    Changes changes;
    changes.members = true;
    changes.place(*work.row, next_position(work.delivery));
    end_of(work.delivery).rooms[work.key] = *work.row;
}

void Ingestion::put_receipts() {
    if (receipts_.empty()) return;
    std::vector<std::int64_t> devices, rooms, seqs;
    std::vector<std::string> users, types, threads, events, bodies;
    for (ReceiptRow& row : receipts_) {
        devices.push_back(row.device.value);
        rooms.push_back(row.room.value);
        users.push_back(std::move(row.user));
        types.push_back(std::move(row.type));
        threads.push_back(std::move(row.thread));
        events.push_back(std::move(row.event_id));
        seqs.push_back(row.seq.value);
        bodies.push_back(std::move(row.body));
    }
    Params params;
    params.bigints(devices).bigints(rooms).texts(users).texts(types).texts(threads).texts(events).bigints(seqs).texts(bodies);
    sending_.send(put_receipts_statement, std::move(params));
}

void Ingestion::put_room_account_data() {
    if (room_account_data_.empty()) return;
    std::vector<std::int64_t> devices, rooms, seqs;
    std::vector<std::string> types, bodies;
    for (RoomAccountDataRow& row : room_account_data_) {
        devices.push_back(row.device.value);
        rooms.push_back(row.room.value);
        types.push_back(std::move(row.type));
        seqs.push_back(row.seq.value);
        bodies.push_back(std::move(row.body));
    }
    Params params;
    params.bigints(devices).bigints(rooms).texts(types).bigints(seqs).bytess(bodies);
    sending_.send(put_room_account_data_statement, std::move(params));
}

/// Rooms that the whole truth does not list.
Task<void> Ingestion::leave_rows(std::size_t delivery, const std::map<RoomKey, Position>& left) {
    if (left.empty()) co_return;
    std::vector<std::int64_t> keys;
    keys.reserve(left.size());
    for (const auto& [room, seq] : left) keys.push_back(room.value);
    Params params;
    params.bigint(deliveries_[delivery]->piece.lease.device.value).bigints(keys);
    Query query = sending_.ask(get_by_key, std::move(params));
    Rows rows = co_await query;
    Changes changes;
    for (RoomRow& row : read_rooms(rows)) {
        enter(row, Section::leave, changes);
        changes.place(row, left.at(row.key));
        end_of(delivery).rooms[row.key] = std::move(row);
    }
}

/// Rooms that look otherwise because the user's account data changed: direct chats, and invites of those who are ignored, or are not.
Task<void> Ingestion::change_listed(std::size_t delivery, const AnswerRest& rest) {
    const AnswerRest::AccountData* direct = account_data_of(rest, direct_type);
    const bool ignored = account_data_of(rest, ignored_type);
    std::set<RoomId> now = direct ? matrix_sync::read_direct_rooms(direct->body) : std::set<RoomId>{};
    std::set<RoomId> turned;
    if (direct) std::ranges::set_symmetric_difference(direct_rooms_[delivery], now, std::inserter(turned, turned.end()));
    if (turned.empty() && !ignored) co_return;
    std::vector<std::string> names;
    names.reserve(turned.size());
    for (const RoomId& room : turned) names.push_back(room.value);
    Params params;
    params.bigint(deliveries_[delivery]->piece.lease.device.value).texts(names).boolean(ignored);
    Query query = sending_.ask(get_listed, std::move(params));
    Rows rows = co_await query;

    std::map<RoomKey, RoomRow>& rooms = end_of(delivery).rooms;
    for (RoomRow& row : read_rooms(rows)) rooms.try_emplace(row.key, std::move(row));
    for (auto& [key, row] : rooms) {
        Changes changes;
        changes.direct = turned.contains(row.room);
        changes.listed = ignored && row.section == Section::invite;
        if (changes.none()) continue;
        if (changes.direct) {
            row.direct = now.contains(row.room) || (row.section == Section::invite && says_direct(row.stripped, end_of(delivery).user));
        }
        changes.place(row, next_position(delivery));
    }
}

}  // namespace matrix_sync
