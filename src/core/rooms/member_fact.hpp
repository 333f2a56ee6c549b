// What one answer of the homeserver says of a room's members, and what becomes of the member list by it. Members are shared by all devices,
// whose answers come in any order: the newest known is kept, and what cannot be told is looked up again (ARCHITECTURE.md, "Members").
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/classic/answer.hpp"
#include "matrix_sync/rooms.hpp"

namespace matrix_sync {

/// Microseconds of PostgreSQL's clock since 1970; 0 is before everything.
using Microseconds = std::int64_t;

/// At some time between these two the homeserver said that an event is its user's newest.
struct Said {
    Microseconds asked = 0;
    Microseconds answered = 0;
};

/// A user's m.room.member event, the newest as one answer has it.
struct MemberFact {
    Member member;
    EventId event_id;
    Said said;
    std::vector<EventRef> before;  ///< the user's events that the same answer shows to be older, oldest first
    EventId replaces;              ///< the event that the homeserver says it replaced; empty: it did not say

    EventRef ref() const { return member.ref; }
};

/// A user's row in a member list, as far as it decides.
struct MemberRow {
    EventRef ref;
    EventId event_id;
    /// Of several answers that said it, the earliest one's `answered`. `asked` is of the one that it came with: that it may be older than
    /// the latest never makes a list stale, it only leads to doubt where the later one would have told. Whoever writes every repetition
    /// down instead writes with every poll.
    Said said;
    std::vector<EventRef> earlier;  ///< events known to be older, the last of them last; at most kMostEarlier
};
inline constexpr std::size_t kMostEarlier = 8;

/// What is known of a list as a whole.
struct MemberListTimes {
    Microseconds doubt = 0;    ///< changes up to here may be missing
    Microseconds fetched = 0;  ///< when the newest whole list was asked for

    bool complete() const { return fetched > doubt; }
};

enum class MemberVerdict {
    nothing,  ///< all as it was
    noted,    ///< the same event, better known: no change of the list
    replaced,
};
/// Changes the row, or makes it. What cannot be told raises `times.doubt`.
MemberVerdict judge(std::optional<MemberRow>& row, MemberListTimes& times, const MemberFact& fact);

/// Whether a whole list that was asked for at `asked` and does not name the row's user says that there is no such row any more.
bool unlisted_is_gone(const MemberRow& row, const MemberListTimes& times, Microseconds asked);

/// An m.room.member event as a row of a member list; none for any other event, and for users whose names are longer than any identifier.
/// An unknown membership counts as `leave`.
std::optional<Member> read_member_row(const Event& event, EventRef ref);
/// The same without what a redaction takes away.
Member redacted_member(Member member);

/// The stored event of an ID; none when it is of another room.
using RefOf = std::function<std::optional<EventRef>(const EventId&)>;
/// What a room's part of an answer says, one fact a user: the last event of the timeline, else the block's; a block that is the state after
/// the timeline wins. A left room's part is as old as the leave: its facts have 0 for `asked`. The caller says 0 for parts that had been
/// set aside.
std::vector<MemberFact> member_facts(const RoomPart& part, Said said, const RefOf& ref_of);

}  // namespace matrix_sync
