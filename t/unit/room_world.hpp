// A device and its rooms without a database: what happens to them is written down as an ingest would, and streams read it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/devices/device.hpp"
#include "core/json/value.hpp"
#include "core/rooms/views.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"
#include "fake_loop.hpp"

namespace matrix_sync {

class NoLogs : public LogStore {
  public:
    Task<DeviceRow> device(const UserId&, const DeviceId&) override { none(); }
    Task<Claim> claim(DeviceKey, WorkerKey, WorkerKey) override { none(); }
    Task<void> release(std::vector<Lease>) override { none(); }
    Task<Ingested> ingest(Piece) override { none(); }
    Task<Ingested> ingest_aside(Lease, std::optional<Position>, RoomId, std::vector<Event>) override { none(); }
    Task<News> news(DeviceKey, Position) override { none(); }
    Task<std::vector<ToDeviceMessage>> to_device(DeviceKey, Position, int) override { none(); }
    Task<std::vector<DeviceListChange>> device_lists(DeviceKey, Position) override { none(); }
    Task<std::vector<AccountDataEvent>> account_data(DeviceKey, Position) override { none(); }
    Task<KeyCounts> key_counts(DeviceKey) override { none(); }
    Task<std::vector<Entry>> typing(DeviceKey, Milliseconds) override { none(); }

  private:
    [[noreturn]] static void none() { throw std::logic_error("there is no log"); }
};

class MemoryRooms : public RoomStore {
  public:
    std::map<RoomKey, RoomRow> rows;
    std::map<RoomKey, std::vector<Entry>> log;
    std::map<EventRef, StoredEvent> stored;
    std::map<StateKey, StateMap> sets;
    std::map<std::pair<RoomKey, std::string>, Member> known_members;
    std::map<RoomKey, RoomPeople> known_people;
    std::vector<Snapshot> snapshots;
    std::string ignored = "{}";                  ///< m.ignored_user_list
    int queries = 0;                             ///< for events and members
    std::function<void()> read_members = [] {};  ///< is called after that, while they are on their way

    Task<std::vector<RoomRow>> rooms(DeviceKey, RoomKey after) override {
        std::vector<RoomRow> page;
        for (auto row = rows.upper_bound(after); row != rows.end() && page.size() < 1000; ++row) page.push_back(row->second);
        co_return page;
    }
    Task<std::optional<RoomRow>> room(DeviceKey, RoomId id) override {
        for (const auto& [key, row] : rows) {
            if (row.room == id) co_return row;
        }
        co_return std::nullopt;
    }
    Task<std::vector<Receipt>> receipts(DeviceKey, RoomKey, Position) override { none(); }
    Task<std::vector<AccountDataEvent>> room_account_data(DeviceKey, RoomKey, Position) override { none(); }
    Task<std::optional<std::string>> account_data(DeviceKey, std::string) override { co_return ignored; }
    Task<std::optional<std::string>> classic_since(DeviceKey) override { co_return "classic"; }

    Task<std::vector<Entry>> entries(DeviceKey, RoomKey room, Position from, Position to) override {
        std::vector<Entry> found;
        for (const Entry& entry : log[room]) {
            if (entry.seq > from && entry.seq <= to) found.push_back(entry);
        }
        co_return found;
    }
    Task<std::optional<Entry>> newest(DeviceKey, RoomKey room, Position to) override {
        std::optional<Entry> found;
        for (const Entry& entry : log[room]) {
            if (entry.seq <= to) found = entry;
        }
        co_return found;
    }
    Task<std::vector<Entry>> last(DeviceKey, std::vector<RoomKey> keys, Position to, int most) override {
        std::vector<Entry> found;
        for (RoomKey key : keys) {
            int left = most;
            for (auto entry = log[key].rbegin(); entry != log[key].rend() && left > 0; ++entry) {
                if (entry->seq > to) continue;
                found.push_back(*entry);
                --left;
            }
        }
        co_return found;
    }

    Task<std::vector<StoredEvent>> events(std::vector<EventRef> refs) override {
        ++queries;
        std::vector<StoredEvent> found;
        for (EventRef ref : refs) {
            if (auto event = stored.find(ref); event != stored.end()) found.push_back(event->second);
        }
        co_return found;
    }
    Task<std::map<StateKey, StateMap>> states(std::vector<StateKey> keys) override {
        std::map<StateKey, StateMap> found;
        for (StateKey key : keys) {
            found[key] = sets[key];
            // As every set there is.
            if (sets.contains(key) && found[key].empty()) found[key][{"m.room.create", ""}] = EventRef{INT64_MAX};
        }
        co_return found;
    }

    Task<std::vector<std::pair<RoomKey, Member>>> members_of(std::vector<std::pair<RoomKey, std::string>> pairs) override {
        ++queries;
        std::vector<std::pair<RoomKey, Member>> found;
        for (const auto& pair : pairs) {
            auto member = known_members.find(pair);
            if (member != known_members.end()) found.emplace_back(pair.first, member->second);
        }
        read_members();
        co_return found;
    }
    Task<std::vector<RoomPeople>> people(std::vector<RoomKey> keys, UserId, int) override {
        ++queries;
        std::vector<RoomPeople> found;
        for (RoomKey key : keys) {
            if (auto people = known_people.find(key); people != known_people.end()) found.push_back(people->second);
        }
        co_return found;
    }
    Task<MemberListEnd> member_list(RoomKey) override { none(); }
    Task<MemberChanges> member_changes(RoomKey, std::int64_t) override { none(); }
    Task<MembersAt> members_at(RoomKey, std::int64_t, Memberships, MemberStart, int, std::vector<std::string>) override { none(); }
    Task<std::vector<RoomKey>> store_members(std::vector<RoomMembers>, std::int64_t) override { none(); }
    Task<std::int64_t> now() override { none(); }
    Task<void> end_members(RoomKey, std::vector<std::string>, std::int64_t) override { none(); }

    Task<int> add_snapshot(const SessionId&, Paged, Snapshot snapshot) override {
        snapshots.push_back(std::move(snapshot));
        co_return static_cast<int>(snapshots.size());
    }
    Task<std::optional<Snapshot>> snapshot(const SessionId&, Paged, int number) override {
        if (number > static_cast<int>(snapshots.size())) co_return std::nullopt;
        co_return snapshots[static_cast<std::size_t>(number - 1)];
    }

  private:
    [[noreturn]] static void none() { throw std::logic_error("nobody should ask for that"); }
};

/// What one poll says of one room.
struct Told {
    Section section = Section::join;
    std::vector<std::pair<StateName, std::string>> state = {};  ///< and the events' contents; empty: the event is no more
    std::string message = {};                                   ///< the body of a message
    bool redacts = false;
    bool members = false;
    std::function<void(RoomRow&, Position)> also = {};
};

struct RoomWorld {
    explicit RoomWorld(const std::string& user = "@me:hs")
        : device(loop, logs, store, cache, budget, DeviceRow{DeviceKey{1}, UserId{user}, DeviceId{"D"}, {}, {}, true}) {}

    FakeLoop loop;
    NoLogs logs;
    MemoryRooms store;
    CacheBudget budget{64 * 1024 * 1024};
    RoomCache cache{loop, store, budget};
    MemberLists lists{loop, store, budget, [this](RoomKey room) { device.views().doubt(room); }};
    Device device;
    Credential credential;
    Reading reading{loop, store, cache, lists, device, credential, SessionId{"session"}};
    std::int64_t numbers = 0;

    /// Another device of the same user, which has heard as much.
    struct Follower {
        explicit Follower(RoomWorld& world)
            : device(world.loop, world.logs, world.store, world.cache, world.budget,
                     DeviceRow{DeviceKey{2}, world.device.user, DeviceId{"E"}, {}, world.end(), true}),
              reading{world.loop, world.store, world.cache, world.lists, device, world.credential, SessionId{"other"}} {}

        Device device;
        Reading reading;
    };

    template <class T>
    T run(Task<T> task) {
        return complete(
            std::move(task), [this] { loop.turn(); }, 100'000);
    }

    RoomRow& row(const std::string& id) {
        for (auto& [key, row] : store.rows) {
            if (row.room.value == id) return row;
        }
        const RoomKey key{static_cast<std::int64_t>(store.rows.size()) + 1};
        RoomRow& row = store.rows[key];
        row.key = key;
        row.room = RoomId{id};
        return row;
    }

    Position end() const { return device.end(); }

    EventRef event(RoomKey room, const std::string& type, std::optional<std::string> key, const std::string& content,
                   const std::string& sender = "@someone:hs") {
        const EventRef ref{++numbers};
        Json json = {{"type", type}, {"sender", sender}, {"content", Json::parse(content)}, {"origin_server_ts", ref.value}};
        json["event_id"] = "$" + std::to_string(ref.value);
        if (key) json["state_key"] = *key;
        store.stored[ref] = {ref, EventId{json["event_id"]}, room, type, key, UserId{sender}, ref.value, json.dump()};
        return ref;
    }

    /// Several rooms in one poll come one after the other.
    Position tell(const std::string& id, const Told& told) {
        const Position seq{end().value + 1};
        RoomRow& row = this->row(id);
        Entry entry;
        entry.seq = seq;
        entry.room_key = row.key;
        entry.room = row.room;
        entry.section = told.section;
        entry.next_batch = "n" + std::to_string(seq.value);
        entry.gap = row.seq.value == 0;
        entry.members = told.members;
        entry.redacts = told.redacts;
        const bool enters = row.seq.value == 0 || row.section != told.section;
        if (enters) row.entered = row.state_changed = row.members = seq;
        StateMap state = told.section == Section::invite || told.section == Section::knock ? StateMap{} : store.sets[row.state];
        for (const auto& [name, content] : told.state) {
            if (content.empty()) {
                state.erase(name);
            } else {
                state[name] = event(row.key, name.type, name.key, content);
                entry.events.push_back(state[name]);
            }
        }
        if (!told.message.empty()) {
            entry.events.push_back(event(row.key, "m.room.message", std::nullopt, Json{{"body", told.message}}.dump()));
        }
        row.section = told.section;
        set_state(row, std::move(state), seq, told.redacts);
        if (told.members || told.redacts) row.members = seq;
        row.seq = row.listed = seq;
        row.timestamp = seq.value;
        if (told.also) told.also(row, seq);
        entry.state = row.state;
        entry.state_changed = row.state_changed == seq;
        store.log[row.key].push_back(entry);
        News news;
        news.from = end();
        news.to = seq;
        news.entries.push_back(std::move(entry));
        news.rooms.push_back(row);
        device.apply(std::move(news));
        return seq;
    }
    Position message(const std::string& id, const std::string& body = "hello") {
        Told told;
        told.message = body;
        return tell(id, told);
    }
    Position name(const std::string& id, const std::string& name) {
        Told told;
        told.state.push_back({{"m.room.name", ""}, Json{{"name", name}}.dump()});
        return tell(id, told);
    }
    Position leave(const std::string& id, bool banned = false) {
        Told told;
        told.section = Section::leave;
        told.also = [banned](RoomRow& row, Position) { row.banned = banned; };
        return tell(id, told);
    }
    Position invite(const std::string& id, const std::string& inviter, Json more = Json::array()) {
        Told told;
        told.section = Section::invite;
        Json events = {
            {{"type", "m.room.member"}, {"state_key", device.user.value}, {"sender", inviter}, {"content", {{"membership", "invite"}}}}};
        for (const Json& event : more) events.push_back(event);
        told.also = [&events](RoomRow& row, Position) { row.stripped = events.dump(); };
        return tell(id, told);
    }
    void child(Told& told, const std::string& room, const std::string& order = {}) {
        Json content = {{"via", {"hs"}}};
        if (!order.empty()) content["order"] = order;
        told.state.push_back({{"m.space.child", room}, content.dump()});
    }
    void ignore(const std::string& content) {
        store.ignored = content;
        News news;
        news.from = end();
        news.to = Position{end().value + 1};
        news.account_data.push_back({news.to, "m.ignored_user_list", content});
        device.apply(std::move(news));
    }
    void member(const std::string& id, const std::string& user, const std::string& displayname, Membership membership = Membership::join) {
        Member member;
        member.user = UserId{user};
        member.membership = membership;
        if (!displayname.empty()) member.displayname = displayname;
        store.known_members[std::pair(row(id).key, user)] = member;
    }

  private:
    void set_state(RoomRow& row, StateMap state, Position seq, bool redacts) {
        if (redacts) row.state_changed = seq;
        if (state == store.sets[row.state]) return;
        const StateKey key{static_cast<std::int64_t>(store.sets.size()) + 1};
        row.state = key;
        row.state_changed = seq;
        auto ref = [&](const char* type) {
            auto found = state.find({type, ""});
            return found == state.end() ? EventRef{} : found->second;
        };
        row.heads = {ref("m.room.name"), ref("m.room.canonical_alias"), ref("m.room.avatar"), ref("m.room.encryption")};
        store.sets[key] = std::move(state);
    }
};

}  // namespace matrix_sync
