// Rooms' member lists in PostgreSQL: one list a room for all devices, each row valid for an interval of the list's versions.
//
// How an ingest writes them, after its events are stored (and redacted), within its transaction:
//
//     ClockReading clock{p, t2};                      // p: clock_timestamp() as microseconds, from the ingest's own first statement
//     Said said{clock.at_earliest(asked), p};         // asked: of the loop's clock; the answer was here before p was read
//     MemberFacts room{key, member_facts(part, said, ref_of), {}, {}};
//     if (entry.gap && joined) room.gap = said.answered;
//     co_await write_members(sending, std::move(rooms));
//
// Locks, where there is anything to write at all: the member lists, in the order of their rooms. Nothing else of the transaction may lock
// events after that.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/rooms/member_fact.hpp"
#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/rooms.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

/// PostgreSQL's clock stood at `time` before the loop's clock stood at `received`. The loop's clock stands still within a turn: `received`
/// is read a turn after the answer with `time` came, be it behind loop_pause() or behind the answer to a statement sent later.
struct ClockReading {
    Microseconds time = 0;
    Instant received{};

    /// No later than `when` really was, by PostgreSQL's clock.
    Microseconds at_earliest(Instant when) const;
};

/// What one answer, or several, say of a room's members.
struct MemberFacts {
    RoomKey room;
    std::vector<MemberFact> facts;
    /// When an answer came whose timeline may hide changes: Said::answered. Only where the device is joined.
    std::optional<Microseconds> gap;
    struct Redacted {
        std::string user;
        EventRef ref;
    };
    std::vector<Redacted> redacted;  ///< m.room.member events that this transaction has redacted
    bool news = false;               ///< one of the events is there since this transaction: something will have to be written
};

/// Applies the rule of member_fact.hpp. A room may be listed several times: in the order of the answers. Two queries, sent together, when
/// nothing is new. The last statements may still be on their way when it returns: `sending` has them.
Task<void> write_members(Sending& sending, std::vector<MemberFacts> rooms);

/// A whole list of a room, asked for at `asked`, has been written, and does not name these users.
Task<void> end_fetch(Sending& sending, RoomKey room, std::vector<std::string> unlisted, Microseconds asked);

/// What RoomStore says of members.
class PostgresMembers {
  public:
    explicit PostgresMembers(Database& database) : database_(database) {}

    Task<std::vector<std::pair<RoomKey, Member>>> members_of(std::vector<std::pair<RoomKey, std::string>> pairs);
    Task<MemberListEnd> member_list(RoomKey room);
    Task<MemberChanges> member_changes(RoomKey room, std::int64_t after);
    Task<MembersAt> members_at(RoomKey room, std::int64_t version, Memberships memberships, MemberStart after, int most,
                               std::vector<std::string> named);
    Task<std::vector<RoomKey>> store_members(std::vector<RoomMembers> rooms, Microseconds asked);
    Task<Microseconds> now();
    Task<void> end_members(RoomKey room, std::vector<std::string> listed, Microseconds asked);

  private:
    Task<std::vector<std::string>> unlisted(RoomKey room, std::vector<std::string> listed);

    Database& database_;
};

}  // namespace matrix_sync
