// How a room looks to a device: its name and what else is computed from state, summary and members.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/rooms/room_order.hpp"
#include "core/rooms/spaces.hpp"
#include "core/streams/reading.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

struct Hero {
    UserId user;
    std::optional<std::string> displayname;
    std::optional<std::string> avatar_url;
};

/// Client-server specification, "Calculating the display name for a room"; api.md, room_list.
struct RoomView {
    std::string name;
    bool named = false;      ///< by its state; else by its heroes
    std::string sort_name;   ///< casefold(name)
    std::string avatar_url;  ///< of m.room.avatar; empty: none
    std::vector<Hero> heroes;
    std::int64_t joined = 0;
    std::int64_t invited = 0;
    bool encrypted = false;
    std::string type;  ///< of m.room.create; empty: none
    UserId inviter;    ///< of an invite: who sent it
};

/// As many as rows, in their order. Few queries, whatever their number; in slices.
Task<std::vector<RoomView>> view_rooms(Reading& reading, std::vector<RoomRow> rows);

/// `join`, `invite`, `knock`, `leave` or `ban`.
std::string_view membership_of(const RoomRow& row);

/// What has been computed of a device's rooms, so that a list costs what has changed and not what there is. A part of Device.
class RoomViews {
  public:
    /// The room is new, or has changed. It stays where it is until all are forgotten.
    void changed(const RoomRow& row) { unlooked_.insert(&row); }
    /// Nobody knew the room any more: it has another key now.
    void forget(RoomKey room);
    void forget();
    /// More is known of the room's members than the device's log tells.
    void doubt(RoomKey room);
    /// Whether it was doubted since the last call: what comes next of the room brings that, too.
    bool take_doubt(RoomKey room);

    /// What stands between the rooms and a list of them: what has changed since it was last computed.
    struct Behind {
        bool looks = false;          ///< more rooms have changed than are looked at without a pause
        std::vector<RoomRow> names;  ///< rooms that are not left and whose name is not known, or not any more; some hundred at most
    };
    /// Looks at the rooms that have changed, and at their names only where names are wanted.
    Behind look(const UserId& user, bool names);
    /// Finds the names of rooms, and nothing else.
    Task<void> name(Reading& reading, std::vector<RoomRow> rows);
    /// As it was looked at; only for a room that look() has seen. Without a name where that is not known.
    ListedRoom listed(const RoomRow& row) const;
    /// All that look() has seen, left ones too, kept in order; not by_space_order. Until anything here changes.
    const std::vector<ListedRoom>& in_order(const std::vector<RoomSort>& by);

    using Children = std::shared_ptr<const std::vector<SpaceChild>>;
    /// Of a space. Never null; empty unless the user has joined it.
    Task<Children> children(Reading& reading, RoomRow space);

  private:
    friend Task<std::vector<RoomView>> view_rooms(Reading& reading, std::vector<RoomRow> rows);

    /// What of a row a view is made from: while it is the same, so is the view.
    struct Ground {
        Section section{};
        Position seq;  ///< of stripped rooms: it says when what they show has changed
        Position entered;
        Position state;
        Position summary;
        Position members;

        explicit Ground(const RoomRow& row);
        bool operator==(const Ground&) const = default;
    };
    struct Made {
        Ground ground;
        std::uint64_t doubts;  ///< of the room, when it was begun
        bool whole = false;    ///< not only the name
        bool certain = false;  ///< every member that was looked for is known
        RoomView view;
    };
    struct Kept {
        const RoomRow* row = nullptr;
        RoomLook look;
        std::uint64_t doubts;
        bool doubted;
        std::optional<Made> made;
    };
    struct Order {
        std::vector<ListedRoom> rooms;
        std::set<const RoomRow*> moved;  ///< since: they may belong elsewhere
    };
    struct Space {
        Ground ground;
        Children children;
    };

    struct Making;
    static Task<std::vector<Made>> make(Reading& reading, std::vector<RoomRow> rows, bool whole);
    /// The whole view of this very row, if it is kept.
    const RoomView* whole_view(const RoomRow& row) const;
    /// Looks at one room, if it has changed since.
    void look(const RoomRow& row, const UserId& user);
    /// Keeps a view, if it is of the room as it is now.
    void keep(RoomKey room, Made made);
    std::uint64_t doubts(RoomKey room) const;
    void move(const RoomRow& row);

    std::set<const RoomRow*> unlooked_;
    std::set<const RoomRow*> unnamed_;  ///< not left, and looked at
    std::unordered_map<RoomKey, Kept> rooms_;
    std::map<std::vector<RoomSort>, Order> orders_;
    std::map<RoomKey, Space> spaces_;
    std::uint64_t doubts_ = 0;
};

}  // namespace matrix_sync
