#include "core/rooms/views.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "core/classic/answer.hpp"
#include "core/matrix/casefold.hpp"
#include "core/matrix/content.hpp"
#include "core/matrix/room_name.hpp"
#include "core/rooms/stripped.hpp"

namespace matrix_sync {

namespace {

/// Rooms to look at, or to make views of, without a pause.
constexpr std::size_t kLooksAtOnce = 1000;
constexpr std::size_t kViewsAtOnce = 500;
/// Orders that are kept, and how many rooms are moved in one before it is sorted anew.
constexpr std::size_t kMostOrders = 4;
constexpr std::size_t kMostMoved = 64;
/// What homeservers send, and names need.
constexpr std::size_t kMostHeroes = 5;

using Events = std::map<EventRef, RoomCache::EventPtr>;

std::string_view body_of(const Events& events, EventRef ref) {
    auto found = events.find(ref);
    return found == events.end() ? std::string_view() : found->second->body;
}

std::string text_of(Membership membership) {
    switch (membership) {
        case Membership::join:
            return "join";
        case Membership::invite:
            return "invite";
        case Membership::knock:
            return "knock";
        case Membership::leave:
            return "leave";
        case Membership::ban:
            return "ban";
    }
    return {};
}

}  // namespace

RoomViews::Ground::Ground(const RoomRow& row)
    : section(row.section),
      seq(is_stripped(row) ? row.seq : Position{}),
      entered(row.entered),
      state(row.state_changed),
      summary(row.summary_changed),
      members(row.members) {}

/// Views of some rooms on their way.
struct RoomViews::Making {
    struct Room {
        RoomRow row;
        Made made;
        NameParts parts;
        SummaryContent summary;
        std::vector<UserId> heroes;

        Room(RoomRow of, std::uint64_t doubts) : row(std::move(of)), made{Ground(row), doubts, false, true, {}} {}
        bool named() const { return (parts.name && !parts.name->empty()) || parts.canonical_alias; }
    };

    bool whole = false;
    std::vector<Room> rooms;

    Task<void> read_state(Reading& reading);
    Task<void> ask_members(Reading& reading);
    Task<void> read_heroes(Reading& reading);
    bool forget_gone();
    bool looks_at_members(const Room& room) const { return !is_stripped(room.row) && (whole || !room.named()); }
    /// Of a room that had a name until now, the homeserver has not said who they are.
    static bool lacks_heroes(const Room& room) {
        return !room.named() && room.parts.heroes.empty() && (!room.summary.heroes || room.summary.heroes->empty());
    }
    static void read_stripped_room(Room& room, const UserId& user);
    static void finish(Room& room);
};

void RoomViews::Making::read_stripped_room(Room& room, const UserId& user) {
    Stripped stripped = read_stripped(room.row.stripped, user);
    RoomView& view = room.made.view;
    room.parts.name = std::move(stripped.name);
    room.parts.canonical_alias = std::move(stripped.canonical_alias);
    view.avatar_url = stripped.avatar_url.value_or("");
    view.type = stripped.type.value_or("");
    view.encrypted = stripped.encrypted;
    view.inviter = std::move(stripped.inviter);
    if (stripped.people.size() > kMostHeroes) stripped.people.resize(kMostHeroes);
    for (Stripped::Person& person : stripped.people) {
        room.parts.heroes.push_back({person.user.value, person.displayname, person.membership});
        view.heroes.push_back({std::move(person.user), std::move(person.displayname), std::move(person.avatar_url)});
    }
}

Task<void> RoomViews::Making::read_state(Reading& reading) {
    std::vector<EventRef> refs;
    for (const Room& room : rooms) {
        const StateHeads& heads = room.row.heads;
        for (EventRef ref : {heads.name, heads.canonical_alias, whole ? heads.avatar : EventRef{}}) {
            if (ref && !is_stripped(room.row)) refs.push_back(ref);
        }
    }
    Events events;
    if (!refs.empty()) events = co_await reading.device.read_events(std::move(refs));
    for (Room& room : rooms) {
        if (is_stripped(room.row)) {
            read_stripped_room(room, reading.device.user);
            continue;
        }
        const StateHeads& heads = room.row.heads;
        room.parts.name = content_string(body_of(events, heads.name), "name");
        room.parts.canonical_alias = read_canonical_alias(body_of(events, heads.canonical_alias));
        room.made.view.avatar_url = content_string(body_of(events, heads.avatar), "url").value_or("");
        room.made.view.encrypted = static_cast<bool>(heads.encryption);
        room.made.view.type = room.row.type;
        room.summary = read_summary(room.row.summary);
        room.heroes = room.summary.heroes.value_or(std::vector<UserId>{});
    }
}

/// Where the homeserver says too little, the member list as far as it is known. Not of a room that was left: it tells of what came after.
Task<void> RoomViews::Making::ask_members(Reading& reading) {
    std::vector<RoomKey> keys;
    for (const Room& room : rooms) {
        const bool no_heroes = lacks_heroes(room);
        const bool no_counts = !room.summary.joined_count || !room.summary.invited_count;
        if (room.row.section == Section::join && looks_at_members(room) && (no_heroes || no_counts)) keys.push_back(room.row.key);
    }
    if (keys.empty()) co_return;
    UserId self = reading.device.user;
    std::vector<RoomPeople> found = co_await reading.store.people(std::move(keys), std::move(self), static_cast<int>(kMostHeroes));
    std::map<RoomKey, RoomPeople*> people;
    for (RoomPeople& of : found) people.emplace(of.room, &of);
    for (Room& room : rooms) {
        auto of = people.find(room.row.key);
        if (of == people.end()) continue;
        if (!room.summary.joined_count) room.summary.joined_count = of->second->joined;
        if (!room.summary.invited_count) room.summary.invited_count = of->second->invited;
        if (lacks_heroes(room)) room.heroes = std::move(of->second->first);
    }
}

Task<void> RoomViews::Making::read_heroes(Reading& reading) {
    std::vector<std::pair<RoomKey, std::string>> pairs;
    for (Room& room : rooms) {
        if (!looks_at_members(room)) continue;
        if (room.heroes.size() > kMostHeroes) room.heroes.resize(kMostHeroes);
        // What they are called now is not for who has left.
        if (room.row.section == Section::leave) continue;
        for (const UserId& hero : room.heroes) pairs.emplace_back(room.row.key, hero.value);
    }
    std::map<std::pair<RoomKey, std::string>, Member> members;
    std::vector<std::pair<RoomKey, Member>> found;
    if (!pairs.empty()) found = co_await reading.store.members_of(std::move(pairs));
    for (auto& [room, member] : found) {
        auto name = std::pair(room, member.user.value);
        members.emplace(std::move(name), std::move(member));
    }
    for (Room& room : rooms) {
        if (!looks_at_members(room)) continue;
        for (UserId& hero : room.heroes) {
            auto member = members.find({room.row.key, hero.value});
            if (member == members.end()) {
                room.made.certain = false;
                room.parts.heroes.push_back({hero.value, std::nullopt, ""});
                room.made.view.heroes.push_back({std::move(hero), std::nullopt, std::nullopt});
                continue;
            }
            Member& known = member->second;
            room.parts.heroes.push_back({hero.value, known.displayname, text_of(known.membership)});
            room.made.view.heroes.push_back({std::move(hero), std::move(known.displayname), std::move(known.avatar_url)});
        }
        room.heroes.clear();
    }
}

/// Heroes who have all left, where others are: the homeserver told of them before the room had a name that it has lost since.
bool RoomViews::Making::forget_gone() {
    bool any = false;
    for (Room& room : rooms) {
        const std::int64_t others = room.summary.joined_count.value_or(0) + room.summary.invited_count.value_or(0) - 1;
        const bool gone = !room.parts.heroes.empty() && std::ranges::none_of(room.parts.heroes, may_be_here);
        if (room.named() || room.row.section != Section::join || others < 1 || !gone) continue;
        room.summary.heroes.reset();
        room.parts.heroes.clear();
        room.made.view.heroes.clear();
        any = true;
    }
    return any;
}

void RoomViews::Making::finish(Room& room) {
    RoomView& view = room.made.view;
    view.named = room.named();
    room.parts.joined = view.joined = room.summary.joined_count.value_or(0);
    room.parts.invited = view.invited = room.summary.invited_count.value_or(0);
    view.name = room_name(room.parts);
    view.sort_name = casefold(view.name);
}

Task<std::vector<RoomViews::Made>> RoomViews::make(Reading& reading, std::vector<RoomRow> rows, bool whole) {
    std::vector<Made> made;
    made.reserve(rows.size());
    for (std::size_t begin = 0; begin < rows.size(); begin += kViewsAtOnce) {
        if (begin > 0) co_await loop_pause(reading.loop);
        Making making;
        making.whole = whole;
        const std::size_t end = std::min(rows.size(), begin + kViewsAtOnce);
        for (std::size_t i = begin; i < end; ++i) {
            const std::uint64_t doubts = reading.device.views().doubts(rows[i].key);
            making.rooms.emplace_back(std::move(rows[i]), doubts);
        }
        co_await making.read_state(reading);
        co_await making.ask_members(reading);
        co_await making.read_heroes(reading);
        if (making.forget_gone()) {
            co_await making.ask_members(reading);
            co_await making.read_heroes(reading);
        }
        for (Making::Room& room : making.rooms) {
            Making::finish(room);
            room.made.whole = whole;
            made.push_back(std::move(room.made));
        }
    }
    co_return made;
}

const RoomView* RoomViews::whole_view(const RoomRow& row) const {
    auto kept = rooms_.find(row.key);
    if (kept == rooms_.end() || !kept->second.made || row.section == Section::leave) return nullptr;
    const Made& made = *kept->second.made;
    return made.whole && made.certain && made.ground == Ground(row) ? &made.view : nullptr;
}

Task<std::vector<RoomView>> view_rooms(Reading& reading, std::vector<RoomRow> rows) {
    RoomViews& kept = reading.device.views();
    std::vector<RoomView> views(rows.size());
    std::vector<RoomRow> missing;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (const RoomView* view = kept.whole_view(rows[i])) {
            views[i] = *view;
        } else {
            places.push_back(i);
            missing.push_back(std::move(rows[i]));
        }
    }
    if (missing.empty()) co_return views;
    std::vector<RoomKey> keys;
    keys.reserve(missing.size());
    for (const RoomRow& row : missing) {
        keys.push_back(row.key);
        if (const RoomRow* known = reading.device.kept_room(row.room)) kept.look(*known, reading.device.user);
    }
    std::vector<RoomViews::Made> made = co_await RoomViews::make(reading, std::move(missing), true);
    for (std::size_t i = 0; i < made.size(); ++i) {
        views[places[i]] = made[i].view;
        // A room that was left is shown once, and not the same to all.
        if (made[i].ground.section == Section::leave) continue;
        kept.keep(keys[i], std::move(made[i]));
    }
    co_return views;
}

std::string_view membership_of(const RoomRow& row) {
    switch (row.section) {
        case Section::join:
            return "join";
        case Section::invite:
            return "invite";
        case Section::knock:
            return "knock";
        case Section::leave:
            break;
    }
    return row.banned ? "ban" : "leave";
}

void RoomViews::forget(RoomKey room) {
    auto kept = rooms_.find(room);
    if (kept == rooms_.end()) return;
    move(*kept->second.row);
    rooms_.erase(kept);
    spaces_.erase(room);
}

void RoomViews::forget() {
    ++doubts_;
    unlooked_.clear();
    unnamed_.clear();
    orders_.clear();
    rooms_.clear();
    spaces_.clear();
}

void RoomViews::doubt(RoomKey room) {
    ++doubts_;
    auto kept = rooms_.find(room);
    if (kept == rooms_.end()) return;
    kept->second.doubts = doubts_;
    kept->second.doubted = true;
    kept->second.made.reset();
    move(*kept->second.row);
    changed(*kept->second.row);
}

bool RoomViews::take_doubt(RoomKey room) {
    auto kept = rooms_.find(room);
    return kept != rooms_.end() && std::exchange(kept->second.doubted, false);
}

std::uint64_t RoomViews::doubts(RoomKey room) const {
    auto kept = rooms_.find(room);
    return kept == rooms_.end() ? doubts_ : kept->second.doubts;
}

void RoomViews::look(const RoomRow& row, const UserId& user) {
    if (unlooked_.erase(&row) == 0) return;
    Kept& kept = rooms_.try_emplace(row.key, Kept{nullptr, {}, doubts_, false, {}}).first->second;
    kept.row = &row;
    kept.look = look_at(row, user);
    move(row);
    if (row.section == Section::leave || (kept.made && kept.made->ground == Ground(row))) {
        unnamed_.erase(&row);
    } else {
        unnamed_.insert(&row);
    }
}

RoomViews::Behind RoomViews::look(const UserId& user, bool names) {
    Behind behind;
    for (std::size_t looks = 0; !unlooked_.empty(); ++looks) {
        behind.looks = looks == kLooksAtOnce;
        if (behind.looks) return behind;
        look(**unlooked_.begin(), user);
    }
    if (!names) return behind;
    for (const RoomRow* row : unnamed_) {
        if (behind.names.size() == kViewsAtOnce) break;
        behind.names.push_back(*row);
    }
    return behind;
}

Task<void> RoomViews::name(Reading& reading, std::vector<RoomRow> rows) {
    std::vector<RoomKey> keys;
    keys.reserve(rows.size());
    for (const RoomRow& row : rows) keys.push_back(row.key);
    std::vector<Made> made = co_await make(reading, std::move(rows), false);
    for (std::size_t i = 0; i < made.size(); ++i) keep(keys[i], std::move(made[i]));
}

void RoomViews::keep(RoomKey room, Made made) {
    auto kept = rooms_.find(room);
    if (kept == rooms_.end() || made.doubts != kept->second.doubts || made.ground != Ground(*kept->second.row)) return;
    kept->second.made = std::move(made);
    unnamed_.erase(kept->second.row);
    move(*kept->second.row);
}

void RoomViews::move(const RoomRow& row) {
    for (auto& [by, order] : orders_) order.moved.insert(&row);
}

const std::vector<ListedRoom>& RoomViews::in_order(const std::vector<RoomSort>& by) {
    if (!orders_.contains(by) && orders_.size() == kMostOrders) orders_.clear();
    auto [found, is_new] = orders_.try_emplace(by);
    Order& order = found->second;
    if (is_new || order.moved.size() > kMostMoved) {
        order.rooms.clear();
        for (const auto& [key, kept] : rooms_) order.rooms.push_back(listed(*kept.row));
        sort_rooms(order.rooms, by);
    } else if (!order.moved.empty()) {
        std::erase_if(order.rooms, [&](const ListedRoom& room) { return order.moved.contains(room.row); });
        for (const RoomRow* row : order.moved) insert_room(order.rooms, listed(*row), by);
    }
    order.moved.clear();
    return order.rooms;
}

ListedRoom RoomViews::listed(const RoomRow& row) const {
    const Kept& kept = rooms_.at(row.key);
    ListedRoom room;
    room.row = &row;
    room.look = &kept.look;
    if (!kept.made) return room;
    room.sort_name = kept.made->view.sort_name;
    room.named = kept.made->view.named;
    return room;
}

Task<RoomViews::Children> RoomViews::children(Reading& reading, RoomRow space) {
    static const Children none = std::make_shared<const std::vector<SpaceChild>>();
    if (space.section != Section::join) co_return none;
    auto kept = spaces_.find(space.key);
    if (kept != spaces_.end() && kept->second.ground == Ground(space)) co_return kept->second.children;
    SpaceState state = co_await read_space(reading, space.state);
    Children children = std::make_shared<const std::vector<SpaceChild>>(std::move(state.children));
    spaces_.insert_or_assign(space.key, Space{Ground(space), children});
    co_return children;
}

}  // namespace matrix_sync
