// Pages of a room's members: in which order, and how one goes on where another has ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/matrix/power_levels.hpp"
#include "core/rooms/member_list.hpp"
#include "core/streams/reading.hpp"

namespace matrix_sync {

enum class MemberSort { by_pl, by_name };

using MemberItem = MemberList::Item;

/// In which order a page shows members. Few have a power of their own: they stand in front of the others or behind them, and the others are
/// in order of their names.
class MemberOrder {
  public:
    MemberOrder(MemberSort sort, const PowerLevels& levels);

    /// The users whose place is not by their name alone.
    const PowerLevels::Named& set_apart() const { return set_apart_; }

    /// The first members of a list.
    std::vector<MemberItem> first(const MemberList& list, const Memberships& memberships, std::size_t most) const;
    /// Those of a list as of a version that come after a user. Throws MatrixError 400 M_INVALID_PARAM when the user is not among them.
    Task<std::vector<MemberItem>> after(RoomStore& store, RoomKey room, std::int64_t version, Memberships memberships, std::string user,
                                        std::size_t most) const;

  private:
    struct Apart {
        std::vector<MemberItem> front;
        std::vector<MemberItem> behind;
    };
    /// Sorts members that are set apart.
    Apart place(std::vector<MemberItem> items) const;

    std::int64_t default_level_;
    PowerLevels::Named set_apart_;
};

/// What the power of members is computed from, as a device's state has it.
struct PowerRefs {
    EventRef power_levels;
    EventRef create;
};
Task<PowerRefs> power_refs(Reading& reading, StateKey state);
Task<PowerLevels> read_power_levels(Reading& reading, PowerRefs refs, std::string room_version);

/// The `p.since` of a page: `SNAPSHOT_USER`.
struct MemberPageToken {
    int snapshot = 0;
    std::string last;  ///< the user shown last

    std::string encode() const { return std::to_string(snapshot) + '_' + last; }
    /// Throws MatrixError 400 M_INVALID_PARAM.
    static MemberPageToken decode(const std::string& text);
};

MatrixError no_such_member_page();

}  // namespace matrix_sync
