#include "core/rooms/member_list.hpp"

namespace matrix_sync {

std::size_t MemberList::count(const Memberships& memberships) const {
    std::size_t count = 0;
    for (Membership membership : memberships) count += items(membership).size();
    return count;
}

const MemberList::Item* MemberList::find(std::string_view user, const Memberships& memberships) const {
    auto found = by_user_.find(user);
    if (found == by_user_.end() || !memberships.contains(found->second.membership)) return nullptr;
    return &*found->second.item;
}

void MemberList::each_after(const MemberPlace& place, const Memberships& memberships, const std::function<bool(const Item&)>& each) const {
    struct Run {
        Items::const_iterator next, end;
    };
    std::vector<Run> runs;
    for (Membership membership : memberships) {
        const Items& all = items(membership);
        runs.push_back({all.upper_bound(Item{place, {}}), all.end()});
    }
    for (;;) {
        Run* first = nullptr;
        for (Run& run : runs) {
            if (run.next != run.end && (!first || *run.next < *first->next)) first = &run;
        }
        if (!first || !each(*first->next++)) return;
    }
}

std::set<std::string> MemberList::users() const {
    std::set<std::string> users;
    for (const auto& [user, where] : by_user_) users.emplace(user);
    return users;
}

void MemberList::put(const Member& member) {
    remove(member.user.value);
    Items& all = items(member.membership);
    auto item = all.insert(all.end(), Item{{member.sort_name, member.user.value}, member.ref});
    by_user_[item->place.user] = {member.membership, item};
}

void MemberList::apply(const MemberChanges& changes) {
    for (const UserId& user : changes.gone) remove(user.value);
    for (const Member& member : changes.rows) put(member);
    version_ = changes.end.version;
}

void MemberList::remove(std::string_view user) {
    auto found = by_user_.find(user);
    if (found == by_user_.end()) return;
    const Where where = found->second;
    by_user_.erase(found);
    items(where.membership).erase(where.item);
}

}  // namespace matrix_sync
