// What the core asks of the storage about rooms: how each device sees them now, what it was told of them, the events and state sets that
// this points to, and the rooms' members. Everything here may throw DatabaseUnavailable and StatementFailed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/store.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// One user's newest m.room.receipt of one type and thread. Client-server specification, "Receipts".
struct Receipt {
    Position seq;
    UserId user;
    std::string type;    ///< m.read, m.read.private
    std::string thread;  ///< empty: of no thread
    std::string event_id;
    std::string body;  ///< the user's object, as it came: `{"ts": …, "thread_id": …}`
};

enum class Membership : std::int16_t { join = 1, invite = 2, knock = 3, leave = 4, ban = 5 };
inline constexpr int kMemberships = 5;

/// A set of memberships, in the order of their numbers.
using Memberships = std::set<Membership>;

/// A row of a room's member list.
struct Member {
    UserId user;
    EventRef ref;  ///< the m.room.member event
    Membership membership = Membership::leave;
    std::string sort_name;  ///< member_sort_name()
    std::optional<std::string> displayname;
    std::optional<std::string> avatar_url;

    bool operator==(const Member&) const = default;
};

/// A place in a member list that is in order of sort_name, then user ID.
struct MemberPlace {
    std::string sort_name;
    std::string user;

    auto operator<=>(const MemberPlace&) const = default;
};

/// Where a room's member list stands. Each change of the list gives it the next version; 0 is before the first.
struct MemberListEnd {
    std::int64_t version = 0;
    bool complete = false;  ///< it was fetched, and no gap has put it in doubt since
    std::int64_t now = 0;   ///< the store's clock when this was read, in microseconds
};

struct MemberChanges {
    MemberListEnd end;         ///< version: up to here these changes go
    bool more = false;         ///< there are later ones
    std::vector<Member> rows;  ///< the newest row of every user whose row has changed
    std::vector<UserId> gone;  ///< those that have no row any more
};

/// Behind which place a range of a member list begins; by itself: at the start.
struct MemberStart {
    std::string user;
    std::optional<std::string> sort_name = "";  ///< none: the user's, whatever it is; nothing follows a user who is not there
};

/// Rows of a member list as of a version.
struct MembersAt {
    std::vector<Member> next;   ///< of a range, in order
    std::vector<Member> named;  ///< of some users, whatever their membership, in no order
};

/// Who is in a room as far as its member list knows, for homeservers that give no summary.
struct RoomPeople {
    RoomKey room;
    std::int64_t joined = 0;
    std::int64_t invited = 0;
    std::vector<UserId> first;  ///< some of those joined or invited; where there is none, of those who have left or were banned
};

/// Which stream a snapshot is of. The numbers are stored.
enum class Paged : std::int16_t { room_members = 1, room_list = 2 };

/// The order in which a first page was made, for its later pages. Immutable; it goes with its session, or when newer ones have come.
struct Snapshot {
    int number = 0;
    std::string params;          ///< what the stream was asked, without the limit: a later page has to ask the same
    std::int64_t count = 0;      ///< entries in the whole of it
    std::vector<RoomKey> rooms;  ///< room_list: all of them, in order
    RoomKey room;                ///< room_members
    std::int64_t version = 0;    ///< room_members: of the member list
    EventRef power_levels;       ///< room_members: m.room.power_levels and m.room.create, where there are any
    EventRef create;
};

/// So many calls of RoomStore::store_members() are under way at once, for one answer of the homeserver.
inline constexpr std::size_t kMemberStoresAtOnce = 2;

/// How rooms look: to one device, and in themselves.
class RoomStore {
  public:
    virtual ~RoomStore() = default;

    /// The device's rooms that it was told of, left ones too, in the order of `after` (a room key), at most some 1,000; empty: no more.
    virtual Task<std::vector<RoomRow>> rooms(DeviceKey device, RoomKey after) = 0;
    /// None when the device knows nothing of the room.
    virtual Task<std::optional<RoomRow>> room(DeviceKey device, RoomId room) = 0;
    /// After a position; in order of seq.
    virtual Task<std::vector<Receipt>> receipts(DeviceKey device, RoomKey room, Position after) = 0;
    virtual Task<std::vector<AccountDataEvent>> room_account_data(DeviceKey device, RoomKey room, Position after) = 0;
    /// The user's global account data of one type: the event.
    virtual Task<std::optional<std::string>> account_data(DeviceKey device, std::string type) = 0;
    /// The classic token that the device's next poll goes on from; none before its first poll has ended.
    virtual Task<std::optional<std::string>> classic_since(DeviceKey device) = 0;

    /// Entries of the device's log in one room: in (from, to], oldest first. As the next one, throws MatrixError 400
    /// M_UNKNOWN_SYNC_SESSION where the log has been pruned beyond `from`.
    virtual Task<std::vector<Entry>> entries(DeviceKey device, RoomKey room, Position from, Position to) = 0;
    /// The newest up to `to`.
    virtual Task<std::optional<Entry>> newest(DeviceKey device, RoomKey room, Position to) = 0;
    /// Of each room at most `most` up to `to`, newest first, as far as they are kept; those of one room stand together.
    virtual Task<std::vector<Entry>> last(DeviceKey device, std::vector<RoomKey> rooms, Position to, int most) = 0;

    /// In the order of the refs; those that do not exist are left out.
    virtual Task<std::vector<StoredEvent>> events(std::vector<EventRef> refs) = 0;
    /// The sets' events by type and state key; a set that does not exist is empty.
    virtual Task<std::map<StateKey, StateMap>> states(std::vector<StateKey> keys) = 0;

    /// The newest rows of many (room, user) pairs, as far as they are known, in no order.
    virtual Task<std::vector<std::pair<RoomKey, Member>>> members_of(std::vector<std::pair<RoomKey, std::string>> pairs) = 0;
    /// Of many rooms, in no order: `first` without this user, at most `most`. A room of which no member is known may be left out.
    virtual Task<std::vector<RoomPeople>> people(std::vector<RoomKey> rooms, UserId without, int most) = 0;
    virtual Task<MemberListEnd> member_list(RoomKey room) = 0;
    /// What has changed after a version, some 1,000 rows at a time. Only what all of it says, until there is no more, is a list that there
    /// was. A list is begun by pages of members_at() instead.
    virtual Task<MemberChanges> member_changes(RoomKey room, std::int64_t after) = 0;
    /// The list as of a version: those with one of these memberships behind a place, at most `most`, an index range for each membership;
    /// and, beside them, the rows of some users, each named once.
    virtual Task<MembersAt> members_at(RoomKey room, std::int64_t version, Memberships memberships, MemberStart after, int most,
                                       std::vector<std::string> named) = 0;
    /// Some of the newest member events of rooms, as the homeserver gives them: at most some 1,000. Nothing is stored of rooms that are not
    /// known; gives those that are. `asked` is what now() was before the homeserver was asked.
    virtual Task<std::vector<RoomKey>> store_members(std::vector<RoomMembers> rooms, std::int64_t asked) = 0;
    /// The store's clock, in microseconds.
    virtual Task<std::int64_t> now() = 0;
    /// All of it has been stored; these are the users that it names.
    virtual Task<void> end_members(RoomKey room, std::vector<std::string> listed, std::int64_t asked) = 0;

    /// Keeps a snapshot of a session's stream; gives its number. All but the newest go.
    virtual Task<int> add_snapshot(const SessionId& session, Paged stream, Snapshot snapshot) = 0;
    /// None when it is gone, or of another stream.
    virtual Task<std::optional<Snapshot>> snapshot(const SessionId& session, Paged stream, int number) = 0;
};

}  // namespace matrix_sync
