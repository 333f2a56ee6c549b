#include "core/streams/member_pages.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/classic/event.hpp"
#include "core/json/text.hpp"
#include "core/log/state.hpp"

namespace matrix_sync {

namespace {

constexpr std::size_t kMostAtOnce = 500;

MemberItem item_of(const Member& member) {
    return {{member.sort_name, member.user.value}, member.ref};
}

/// Puts items behind others until there are enough; says whether there may be more.
bool put(std::vector<MemberItem>& items, const std::vector<MemberItem>& more, std::size_t most) {
    for (const MemberItem& item : more) {
        if (items.size() == most) return false;
        items.push_back(item);
    }
    return items.size() < most;
}

/// Takes away what stands before a user, the user included; false when the user is not there.
bool go_behind(std::vector<MemberItem>& items, const std::string& user) {
    auto found = std::ranges::find(items, user, [](const MemberItem& item) -> const std::string& { return item.place.user; });
    if (found == items.end()) return false;
    items.erase(items.begin(), found + 1);
    return true;
}

}  // namespace

MatrixError no_such_member_page() {
    return {400, "M_INVALID_PARAM", "room_members.p.since: there is no such page; ask for \"1\""};
}

MemberPageToken MemberPageToken::decode(const std::string& text) {
    MemberPageToken token;
    const char* end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, token.snapshot);
    if (error != std::errc{} || rest == end || *rest != '_' || token.snapshot < 1) throw no_such_member_page();
    token.last.assign(rest + 1, end);
    if (!is_identifier(token.last) || storable_text(token.last) != token.last) throw no_such_member_page();
    return token;
}

MemberOrder::MemberOrder(MemberSort sort, const PowerLevels& levels) : default_level_(levels.default_level()) {
    if (sort == MemberSort::by_name) return;
    set_apart_ = levels.named();
    std::erase_if(set_apart_, [this](const auto& named) { return named.second == default_level_; });
}

MemberOrder::Apart MemberOrder::place(std::vector<MemberItem> items) const {
    std::vector<std::pair<std::int64_t, MemberItem>> by_level;
    by_level.reserve(items.size());
    for (MemberItem& item : items) by_level.emplace_back(set_apart_.at(item.place.user), std::move(item));
    std::ranges::sort(by_level, [](const auto& one, const auto& other) {
        return one.first != other.first ? one.first > other.first : one.second < other.second;
    });
    Apart apart;
    for (auto& [level, item] : by_level) (level > default_level_ ? apart.front : apart.behind).push_back(std::move(item));
    return apart;
}

std::vector<MemberItem> MemberOrder::first(const MemberList& list, const Memberships& memberships, std::size_t most) const {
    std::vector<MemberItem> named;
    for (const auto& [user, level] : set_apart_) {
        if (const MemberItem* item = list.find(user, memberships)) named.push_back(*item);
    }
    const Apart apart = place(std::move(named));
    std::vector<MemberItem> items;
    if (!put(items, apart.front, most)) return items;
    list.each_after({}, memberships, [&](const MemberItem& item) {
        if (!set_apart_.contains(item.place.user)) items.push_back(item);
        return items.size() < most;
    });
    put(items, apart.behind, most);
    return items;
}

Task<std::vector<MemberItem>> MemberOrder::after(RoomStore& store, RoomKey room, std::int64_t version, Memberships memberships,
                                                 std::string user, std::size_t most) const {
    // Behind somebody who is set apart the names begin at the start, if any are left.
    MemberStart last;
    std::vector<std::string> users;
    for (const auto& [name, level] : set_apart_) users.push_back(name);
    if (!set_apart_.contains(user)) {
        last = {user, std::nullopt};
        users.push_back(user);
    }
    const int at_once = static_cast<int>(std::min(most + set_apart_.size(), kMostAtOnce));
    MembersAt page = co_await store.members_at(room, version, memberships, last, at_once, std::move(users));
    std::vector<MemberItem> named;
    bool found = false;
    for (const Member& row : page.named) {
        if (!memberships.contains(row.membership)) continue;
        found = found || row.user.value == user;
        if (set_apart_.contains(row.user.value)) named.push_back(item_of(row));
    }
    if (!found) throw no_such_member_page();

    Apart apart = place(std::move(named));
    std::vector<MemberItem> items;
    if (go_behind(apart.behind, user)) {
        put(items, apart.behind, most);
        co_return items;
    }
    if (go_behind(apart.front, user)) put(items, apart.front, most);
    for (;;) {
        for (const Member& member : page.next) {
            if (items.size() < most && !set_apart_.contains(member.user.value)) items.push_back(item_of(member));
        }
        if (items.size() == most || page.next.size() < static_cast<std::size_t>(at_once)) break;
        last = {page.next.back().user.value, page.next.back().sort_name};
        users.clear();
        page = co_await store.members_at(room, version, memberships, last, at_once, users);
    }
    put(items, apart.behind, most);
    co_return items;
}

Task<PowerRefs> power_refs(Reading& reading, StateKey state) {
    RoomCache::StatePtr names = co_await reading.cache.state(state);
    PowerRefs refs;
    if (auto found = names->find({"m.room.power_levels", ""}); found != names->end()) refs.power_levels = found->second;
    if (auto found = names->find(create_name()); found != names->end()) refs.create = found->second;
    co_return refs;
}

Task<PowerLevels> read_power_levels(Reading& reading, PowerRefs refs, std::string room_version) {
    std::vector<EventRef> wanted;
    for (EventRef ref : {refs.power_levels, refs.create}) {
        if (ref) wanted.push_back(ref);
    }
    std::map<EventRef, RoomCache::EventPtr> events = co_await reading.device.read_events(std::move(wanted));
    auto body = [&](EventRef ref) -> std::optional<std::string_view> {
        auto found = events.find(ref);
        return found == events.end() ? std::nullopt : std::optional<std::string_view>(found->second->body);
    };
    co_return PowerLevels(body(refs.power_levels), body(refs.create), room_version);
}

}  // namespace matrix_sync
