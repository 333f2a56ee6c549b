// room {room_id, …}: one room in the shape of GET /sync, whole at first and then what is new in it.
#include <algorithm>

#include "core/json/writer.hpp"
#include "core/log/state.hpp"
#include "core/matrix/content.hpp"
#include "core/rooms/views.hpp"
#include "core/streams/event_json.hpp"
#include "core/streams/state_json.hpp"
#include "core/streams/stream.hpp"
#include "core/streams/timeline.hpp"

namespace matrix_sync {

namespace {

constexpr std::int64_t kDefaultTimeline = 20;
constexpr std::int64_t kMostTimeline = 200;

/// One answer on its way.
struct RoomPartOfAnswer {
    RoomRow row;
    Position from;  ///< 0: the room as a whole
    Position to;
    std::vector<Entry> entries;  ///< in (from, to]
    StateKey state;              ///< at `to`
    StateKey state_before;       ///< at `from`
    bool renamed = false;        ///< perhaps: the name may be another than at `from`
    bool members = false;        ///< member events: the name may be another where it is made of theirs
    ShownTimeline timeline;
    std::vector<std::string> state_after;
    bool initial() const { return from.value == 0; }
    bool changed(Position RoomRow::*place) const { return row.*place > from; }
};

class RoomStream : public Stream {
  public:
    explicit RoomStream(const Fields& fields)
        : room_(fields.required_string("room_id")),
          limit_(static_cast<int>(std::min(fields.integer("timeline_limit", 0).value_or(kDefaultTimeline), kMostTimeline))),
          filter_(fields),
          required_(fields, RequiredState::everything()),
          lazy_(fields.boolean("lazy_load_members").value_or(true)) {}

    Json params() const override {
        Json params = {{"room_id", room_.value}};
        if (limit_ != kDefaultTimeline) params["timeline_limit"] = limit_;
        filter_.write(params);
        if (required_ != RequiredState::everything()) params["required_state"] = required_.params();
        if (!lazy_) params["lazy_load_members"] = false;
        return params;
    }
    Cursor start(Position) const override { return {}; }
    bool continues(const Stream& before) const override { return static_cast<const RoomStream&>(before).params() == params(); }
    bool shows_present() const override { return true; }

    bool has_news(const Device& device, const Cursor& cursor, Show) const override {
        return device.room_after(room_, &RoomRow::seq, cursor.at);
    }

    Task<Cursor> read(Reading& reading, Cursor cursor, Show, std::string& out) const override {
        std::optional<RoomRow> row = co_await reading.device.room(room_);
        const Position end = std::max(reading.device.end(), cursor.at);
        if (!row) co_return Cursor{end};
        const Position to = std::max(end, row->seq);
        if (row->seq > cursor.at) {
            RoomPartOfAnswer part;
            part.row = std::move(*row);
            part.from = cursor.at;
            part.to = to;
            out += co_await answer(reading, std::move(part));
        }
        co_return Cursor{to};
    }

  private:
    Task<std::string> answer(Reading& reading, RoomPartOfAnswer part) const {
        switch (part.row.section) {
            case Section::join:
                // Whoever entered after `from` cannot have the room.
                if (part.row.entered > part.from) part.from = {};
                co_return co_await joined(reading, std::move(part));
            case Section::leave:
                co_return co_await left(reading, std::move(part));
            case Section::invite:
            case Section::knock:
                break;
        }
        co_return co_await invited(reading, std::move(part));
    }

    Task<std::string> joined(Reading& reading, RoomPartOfAnswer part) const {
        part.state = part.row.state;
        if (part.initial()) {
            std::vector<RoomRow> rows = {part.row};
            std::vector<ShownTimeline> timelines = co_await last_timelines(reading, std::move(rows), part.to, filter_, limit_);
            part.timeline = std::move(timelines.front());
        } else {
            part.entries = co_await reading.device.read_entries(part.row.key, part.from, part.to);
            part.timeline = co_await delta_timeline(reading, part.entries, filter_, limit_);
            co_await find_state_before(reading, part);
        }
        co_await find_state(reading, part);
        co_return co_await write(reading, std::move(part));
    }

    /// What came up to the leave, once: api.md, "Who sees what".
    Task<std::string> left(Reading& reading, RoomPartOfAnswer part) const {
        if (part.initial()) co_return std::string();
        std::optional<Entry> before = co_await reading.store.newest(reading.device.key, part.row.key, part.from);
        if (!before || before->section == Section::leave) co_return std::string();
        part.entries = co_await reading.device.read_entries(part.row.key, part.from, part.to);
        // What came after the leave is not for this user.
        auto last_in =
            std::find_if(part.entries.rbegin(), part.entries.rend(), [](const Entry& entry) { return entry.section != Section::leave; });
        auto out = last_in.base();
        if (out != part.entries.end()) part.entries.erase(out + 1, part.entries.end());
        if (part.entries.empty()) co_return std::string();
        part.timeline = co_await delta_timeline(reading, part.entries, filter_, limit_);
        part.state = part.entries.back().state;
        part.state_before = before->state;
        // Who was only invited has seen no state, and does not get any by declining.
        const bool was_in = before->section == Section::join ||
                            std::ranges::any_of(part.entries, [](const Entry& entry) { return entry.section == Section::join; });
        if (was_in) part.state_after = co_await state_events(reading, required_, part.state, part.state_before);
        for (auto* events : {&part.timeline.events, &part.state_after}) std::ranges::transform(*events, events->begin(), without_redaction);
        co_return co_await write(reading, std::move(part));
    }

    Task<std::string> invited(Reading& reading, RoomPartOfAnswer part) const {
        std::vector<RoomRow> rows = {part.row};
        std::vector<RoomView> views = co_await view_rooms(reading, std::move(rows));
        auto ignored = co_await reading.device.ignored_users();
        if (ignored->contains(views.front().inviter.value)) co_return std::string();
        JsonWriter json;
        json.object().key("room_id").string(room_.value).key("name").string(views.front().name);
        json.key("membership").string(membership_of(part.row)).key("initial").boolean(true);
        json.key(part.row.section == Section::invite ? "invite_state" : "knock_state").object();
        json.key("events").raw(part.row.stripped.empty() ? "[]" : part.row.stripped).end_object().end_object();
        co_return json.take();
    }

    Task<void> find_state_before(Reading& reading, RoomPartOfAnswer& part) const {
        part.renamed = std::ranges::any_of(part.entries, [](const Entry& entry) { return entry.redacts; });
        part.members = std::ranges::any_of(part.entries, [](const Entry& entry) { return entry.members; });
        const bool changed = std::ranges::any_of(part.entries, [](const Entry& entry) { return entry.state_changed; });
        if (!changed) {
            part.state_before = part.state;
            co_return;
        }
        std::optional<Entry> before = co_await reading.store.newest(reading.device.key, part.row.key, part.from);
        if (before) part.state_before = before->state;
        RoomCache::StatePtr old = co_await reading.cache.state(part.state_before);
        RoomCache::StatePtr now = co_await reading.cache.state(part.state);
        const StateHeads was = heads_of(*old);
        const StateHeads is = heads_of(*now);
        part.renamed = part.renamed || was.name != is.name || was.canonical_alias != is.canonical_alias;
    }

    Task<void> find_state(Reading& reading, RoomPartOfAnswer& part) const {
        part.state_after = co_await state_events(reading, required_, part.state, part.state_before);
        std::set<std::string> users;
        if (lazy_) users = part.timeline.senders;
        const bool gap = std::ranges::any_of(part.entries, [](const Entry& entry) { return entry.gap; });
        // Those that a first answer brought after the room.
        const bool more_members = part.changed(&RoomRow::members) &&
                                  std::ranges::none_of(part.entries, [&](const Entry& entry) { return entry.seq == part.row.members; });
        if (part.initial() || gap || more_members) {
            users.merge(required_.members());
            if (required_.all_members()) users.merge(co_await all_members(reading, part));
        } else {
            users.merge(co_await changed_members(reading, part));
        }
        if (lazy_ && part.initial()) {
            users.insert(reading.device.user.value);
            for (const UserId& hero : read_summary(part.row.summary).heroes.value_or(std::vector<UserId>{})) users.insert(hero.value);
        }
        std::vector<std::string> members = co_await member_events(reading, part.row.key, std::move(users));
        std::ranges::move(members, std::back_inserter(part.state_after));
    }

    Task<std::set<std::string>> all_members(Reading& reading, const RoomPartOfAnswer& part) const {
        auto list = co_await reading.member_lists.look(part.row.key, part.row.room, reading.credential);
        std::set<std::string> users;
        if (list) users = list->users();
        // It may just have been fetched.
        reading.cache.members_changed(part.row.key);
        co_return users;
    }

    /// Those that are required and have had a member event.
    Task<std::set<std::string>> changed_members(Reading& reading, const RoomPartOfAnswer& part) const {
        std::set<std::string> users;
        const std::set<std::string> named = required_.members();
        if (named.empty() && !required_.all_members()) co_return users;
        std::vector<EventRef> refs;
        for (const Entry& entry : part.entries) {
            if (entry.members) refs.insert(refs.end(), entry.events.begin(), entry.events.end());
        }
        auto events = co_await reading.device.read_events(std::move(refs));
        for (const auto& [ref, event] : events) {
            if (event->type != "m.room.member" || !event->state_key) continue;
            if (required_.all_members() || named.contains(*event->state_key)) users.insert(*event->state_key);
        }
        co_return users;
    }

    Task<std::string> write(Reading& reading, RoomPartOfAnswer part) const {
        const bool left = part.row.section == Section::leave;
        JsonWriter json;
        const bool has_timeline = part.initial() || left || part.timeline.limited || !part.timeline.events.empty();
        if (has_timeline) json.key("timeline").raw(part.timeline.json());
        if (part.initial() || !part.state_after.empty()) json.key("state_after").raw(events_json(part.state_after));
        if (!left) co_await write_facts(reading, part, json);
        const bool name_only = json.size() == 0;
        if (name_only && !part.renamed && !part.members) co_return std::string();

        std::vector<RoomRow> rows = {part.row};
        std::vector<RoomView> views = co_await view_rooms(reading, std::move(rows));
        if (name_only && !part.renamed && views.front().named) co_return std::string();
        JsonWriter head;
        head.object().key("room_id").string(room_.value).key("name").string(views.front().name);
        head.key("membership").string(membership_of(part.row)).key("initial").boolean(part.initial());
        std::string facts = json.take();
        co_return head.take() + (facts.empty() ? "" : ",") + facts + "}";
    }

    Task<void> write_facts(Reading& reading, const RoomPartOfAnswer& part, JsonWriter& json) const {
        const RoomRow& row = part.row;
        auto object = [&](const char* key, const std::string& text, Position RoomRow::*place) {
            if (!text.empty() && part.changed(place)) json.key(key).raw(text);
        };
        object("summary", row.summary, &RoomRow::summary_changed);
        object("unread_notifications", row.notifications, &RoomRow::counts_changed);
        object("unread_thread_notifications", row.thread_notifications, &RoomRow::counts_changed);
        if (part.changed(&RoomRow::receipts_changed)) {
            std::vector<Receipt> receipts = co_await reading.store.receipts(reading.device.key, row.key, part.from);
            if (!receipts.empty()) json.key("ephemeral").raw(receipts_json(receipts));
        }
        if (part.changed(&RoomRow::account_data_changed)) {
            std::vector<AccountDataEvent> events = co_await reading.store.room_account_data(reading.device.key, row.key, part.from);
            std::vector<std::string> bodies;
            bodies.reserve(events.size());
            for (AccountDataEvent& event : events) bodies.push_back(std::move(event.body));
            if (!bodies.empty()) json.key("account_data").raw(events_json(bodies));
        }
    }

    using Receipts = std::map<std::string, std::map<std::string, std::map<std::string, const Receipt*>>>;

    /// By event, type and user, as client-server specification, "Receipts", has them; what would stand in one place twice, because it is of
    /// different threads, goes into another EDU.
    static std::string receipts_json(const std::vector<Receipt>& receipts) {
        std::vector<Receipts> edus;
        for (const Receipt& receipt : receipts) {
            auto takes = [&](Receipts& edu) {
                return edu[receipt.event_id][receipt.type].try_emplace(receipt.user.value, &receipt).second;
            };
            if (std::ranges::find_if(edus, takes) == edus.end()) takes(edus.emplace_back());
        }
        JsonWriter json;
        json.object().key("events").array();
        for (const Receipts& edu : edus) write_receipts(json, edu);
        json.end_array().end_object();
        return json.take();
    }

    static void write_receipts(JsonWriter& json, const Receipts& edu) {
        json.object().key("type").string("m.receipt").key("content").object();
        for (const auto& [event, types] : edu) {
            json.key(event).object();
            for (const auto& [type, users] : types) {
                json.key(type).object();
                for (const auto& [user, receipt] : users) json.key(user).raw(receipt->body);
                json.end_object();
            }
            json.end_object();
        }
        json.end_object().end_object();
    }

    RoomId room_;
    int limit_;
    TimelineFilter filter_;
    RequiredState required_;
    bool lazy_;
};

}  // namespace

std::unique_ptr<Stream> parse_room(const Json& params) {
    return std::make_unique<RoomStream>(Fields(params, "room"));
}

}  // namespace matrix_sync
