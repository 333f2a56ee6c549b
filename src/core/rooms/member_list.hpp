// A room's members in memory, in the order in which pages show them.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "matrix_sync/rooms.hpp"

namespace matrix_sync {

class MemberList {
  public:
    /// What order and pages need; the rest is in the event.
    struct Item {
        MemberPlace place;
        EventRef ref;

        bool operator<(const Item& other) const { return place < other.place; }
    };

    std::int64_t version() const { return version_; }
    std::size_t size() const { return by_user_.size(); }
    std::size_t count(const Memberships& memberships) const;
    /// Nullptr when the user has no row with one of these memberships. Valid until the next change.
    const Item* find(std::string_view user, const Memberships& memberships) const;
    /// Calls each(item) in order, of those with one of these memberships, from the first on that comes after the place; until it says
    /// false.
    void each_after(const MemberPlace& place, const Memberships& memberships, const std::function<bool(const Item&)>& each) const;
    /// Everybody who has a row.
    std::set<std::string> users() const;

    /// The next of a list that is begun in order, membership by membership.
    void put(const Member& member);
    void set_version(std::int64_t version) { version_ = version; }
    void apply(const MemberChanges& changes);

  private:
    using Items = std::set<Item>;
    struct Where {
        Membership membership;
        Items::iterator item;
    };

    Items& items(Membership membership) { return by_membership_[index(membership)]; }
    const Items& items(Membership membership) const { return by_membership_[index(membership)]; }
    static std::size_t index(Membership membership) { return static_cast<std::size_t>(membership) - 1; }
    void remove(std::string_view user);

    std::int64_t version_ = 0;
    std::array<Items, kMemberships> by_membership_;
    std::unordered_map<std::string_view, Where> by_user_;  ///< names are those in the items
};

}  // namespace matrix_sync
