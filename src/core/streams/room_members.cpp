// room_members {room_id, membership, p}: pages of the members of one room, and every membership event after them.
#include <algorithm>

#include "core/json/writer.hpp"
#include "core/streams/member_deltas.hpp"
#include "core/streams/member_pages.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

constexpr std::int64_t kDefaultMembers = 50;
constexpr std::int64_t kMostMembers = 1000;
constexpr std::size_t kEventsAtOnce = 100;

constexpr std::array<std::pair<std::string_view, Membership>, kMemberships> kNames = {{
    {"join", Membership::join},
    {"invite", Membership::invite},
    {"knock", Membership::knock},
    {"leave", Membership::leave},
    {"ban", Membership::ban},
}};

Memberships read_memberships(const Fields& fields) {
    auto names = fields.strings("membership");
    if (!names) return {Membership::join, Membership::invite};
    Memberships memberships;
    for (const std::string& name : *names) {
        auto found = std::ranges::find(kNames, name, &std::pair<std::string_view, Membership>::first);
        if (found == kNames.end()) fields.fail("membership", "expected join, invite, knock, leave or ban");
        memberships.insert(found->second);
    }
    return memberships;
}

Json names_of(const Memberships& memberships) {
    Json names = Json::array();
    for (const auto& [name, membership] : kNames) {
        if (memberships.contains(membership)) names.push_back(std::string(name));
    }
    return names;
}

/// A page on its way.
struct Page {
    std::vector<MemberItem> items;  ///< one more than the page may hold, if there is one
    std::size_t shown = 0;          ///< items that the page has room for
    std::string events;             ///< JSON array
    std::int64_t count = 0;

    bool last() const { return shown == items.size(); }
};

class RoomMembersStream : public Stream {
  public:
    explicit RoomMembersStream(const Fields& fields)
        : room_(fields.required_string("room_id")), memberships_(read_memberships(fields)), limit_(0), sort_(MemberSort::by_pl) {
        const Fields p = fields.object("p");
        limit_ = std::min(p.integer("limit", 1).value_or(kDefaultMembers), kMostMembers);
        if (p.text("sort") == "by_name") sort_ = MemberSort::by_name;
    }

    Json params() const override {
        Json params = {{"room_id", room_.value}};
        if (memberships_ != Memberships{Membership::join, Membership::invite}) params["membership"] = names_of(memberships_);
        if (limit_ != kDefaultMembers) params["p"]["limit"] = limit_;
        if (sort_ != MemberSort::by_pl) params["p"]["sort"] = sort_name();
        return params;
    }
    Cursor start(Position since) const override { return {since}; }
    bool continues(const Stream& before) const override { return static_cast<const RoomMembersStream&>(before).room_ == room_; }
    bool shows_present() const override { return false; }

    bool has_news(const Device& device, const Cursor& cursor, Show show) const override {
        const RoomRow* row = device.kept_room(room_);
        if (show != Show::deltas && row && row->section != Section::join) return false;
        const Position after = show == Show::first_page ? Position{} : cursor.at;
        return device.room_after(room_, &RoomRow::members, after);
    }

    Task<Cursor> read(Reading& reading, Cursor cursor, Show show, std::string& out) const override {
        std::optional<RoomRow> row = co_await reading.device.room(room_);
        const Position end = std::max(reading.device.end(), cursor.at);
        if (show == Show::deltas) {
            if (!row) co_return Cursor{end};
            const auto most = static_cast<std::size_t>(limit_);
            co_return co_await read_member_delta(reading, std::move(*row), cursor, most, out);
        }
        // Silence is a page too, which the next request waits to see changed. The deltas that follow still have to tell of a leave.
        cursor.paged = true;
        if (!row) co_return Cursor{end, 0, true};
        const Position to = std::max(end, row->seq);
        const bool changed = row->members > cursor.at;
        if (row->section != Section::join) co_return changed ? cursor : Cursor{to, 0, true};
        if (show == Show::changed_first_page && !changed) co_return Cursor{to, 0, true};
        co_await first_page(reading, std::move(*row), out);
        co_return Cursor{to, 0, true};
    }

    Task<void> read_page(Reading& reading, std::string token, std::string& out) const override {
        const MemberPageToken from = MemberPageToken::decode(token);
        std::optional<Snapshot> snapshot = co_await reading.store.snapshot(reading.session, Paged::room_members, from.snapshot);
        if (!snapshot || snapshot->params != terms()) throw no_such_member_page();
        std::optional<RoomRow> row = co_await reading.device.room(room_);
        if (!row || row->section != Section::join) co_return;

        const PowerRefs refs{snapshot->power_levels, snapshot->create};
        const PowerLevels levels = co_await read_power_levels(reading, refs, row->version);
        const MemberOrder order(sort_, levels);
        Page page;
        page.count = snapshot->count;
        page.items = co_await order.after(reading.store, row->key, snapshot->version, memberships_, from.last, most_items());
        co_await read_events(reading, page);
        write(page, from.snapshot, out);
    }

  private:
    std::string sort_name() const { return sort_ == MemberSort::by_name ? "by_name" : "by_pl"; }
    std::size_t most_items() const { return static_cast<std::size_t>(limit_) + 1; }

    /// What later pages have to ask likewise.
    std::string terms() const {
        return Json{{"room_id", room_.value}, {"membership", names_of(memberships_)}, {"sort", sort_name()}}.dump();
    }

    Task<void> first_page(Reading& reading, RoomRow row, std::string& out) const {
        MemberLists::ListPtr list = co_await reading.member_lists.look(row.key, row.room, reading.credential);
        // That may have taken long.
        std::optional<RoomRow> now = co_await reading.device.room(room_);
        if (!list || !now || now->section != Section::join) co_return;
        const PowerRefs refs = co_await power_refs(reading, now->state);
        const PowerLevels levels = co_await read_power_levels(reading, refs, now->version);
        const MemberOrder order(sort_, levels);

        Page page;
        page.count = static_cast<std::int64_t>(list->count(memberships_));
        page.items = order.first(*list, memberships_, most_items());
        Snapshot snapshot;
        snapshot.params = terms();
        snapshot.count = page.count;
        snapshot.room = row.key;
        snapshot.version = list->version();
        snapshot.power_levels = refs.power_levels;
        snapshot.create = refs.create;
        list.reset();

        co_await read_events(reading, page);
        if (!page.last()) snapshot.number = co_await reading.store.add_snapshot(reading.session, Paged::room_members, snapshot);
        write(page, snapshot.number, out);
    }

    Task<void> read_events(Reading& reading, Page& page) const {
        JsonWriter json;
        json.array();
        const std::size_t end = std::min(page.items.size(), static_cast<std::size_t>(limit_));
        while (page.shown < end && json.size() < kMostBytes) {
            std::vector<EventRef> refs;
            for (std::size_t i = page.shown; i < end && refs.size() < kEventsAtOnce; ++i) refs.push_back(page.items[i].ref);
            const std::size_t ready = page.shown + refs.size();
            auto events = co_await reading.device.read_events(std::move(refs));
            for (; page.shown < ready && json.size() < kMostBytes; ++page.shown) {
                auto event = events.find(page.items[page.shown].ref);
                if (event != events.end()) json.raw(event->second->body);
            }
        }
        json.end_array();
        page.events = json.take();
    }

    void write(const Page& page, int snapshot, std::string& out) const {
        JsonWriter json;
        json.object().key("events").raw(page.events);
        json.key("p").object().key("limit").number(limit_).key("sort").string(sort_name()).key("count").number(page.count);
        if (!page.last()) json.key("next").string(MemberPageToken{snapshot, page.items[page.shown - 1].place.user}.encode());
        json.end_object().end_object();
        out += json.take();
    }

    RoomId room_;
    Memberships memberships_;
    std::int64_t limit_;
    MemberSort sort_;
};

}  // namespace

std::unique_ptr<Stream> parse_room_members(const Json& params) {
    return std::make_unique<RoomMembersStream>(Fields(params, "room_members"));
}

}  // namespace matrix_sync
