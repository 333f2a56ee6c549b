// What the core keeps outside of memory, and what it asks of whoever keeps it. Everything here may throw DatabaseUnavailable and
// StatementFailed; what has thrown has changed nothing, unless the connection was lost while it was being committed: then it may have
// happened.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

struct RoomPart;
struct AnswerRest;
struct Event;
struct RoomMembers;
enum class Section : std::int16_t;

/// The right to write a device's log. It ends when another worker has claimed the device: the epoch is then higher.
struct Lease {
    DeviceKey device;
    std::int64_t epoch = 0;
};

/// Where a device's log stands.
struct DeviceRow {
    DeviceKey key;
    UserId user;
    DeviceId device;
    WorkerKey owner;     ///< none: nobody polls
    Position end;        ///< the last number given
    bool whole = false;  ///< its first poll has ended: `since` is known
};

/// An event as it is stored: of `unsigned` only what is the same for everyone.
struct StoredEvent {
    EventRef ref;
    EventId event_id;
    RoomKey room;
    std::string type;
    std::optional<std::string> state_key;
    UserId sender;
    std::int64_t origin_server_ts = 0;
    std::string body;
};

/// What a state event is the newest of.
struct StateName {
    std::string type;
    std::string key;

    auto operator<=>(const StateName&) const = default;
};

using StateMap = std::map<StateName, EventRef>;

/// The state events that a room's looks in a list are made of.
struct StateHeads {
    EventRef name;
    EventRef canonical_alias;
    EventRef avatar;
    EventRef encryption;

    bool operator==(const StateHeads&) const = default;
};

/// A room as a device sees it now: the newest word on everything, and where in the log it last changed.
struct RoomRow {
    RoomKey key;
    RoomId room;
    std::string type;     ///< of m.room.create; empty: none
    std::string version;  ///< likewise
    Section section{};
    bool banned = false;  ///< section leave: by a ban
    Position seq;         ///< of all changes but who types
    Position entered;     ///< where the present section began
    Position listed;      ///< of the newest change that a room list shows
    Position members;     ///< of a member event, a gap, or power levels
    Position state_changed;
    Position direct_changed;
    Position tags_changed;
    Position summary_changed;
    Position counts_changed;
    Position receipts_changed;
    Position account_data_changed;
    StateKey state;              ///< of the newest entry; none where no state is known
    StateHeads heads;            ///< of that state
    std::int64_t timestamp = 0;  ///< milliseconds since 1970: of the newest event, or api.md's substitutes
    std::string notifications;   ///< JSON objects, as the homeserver last sent them; empty: never
    std::string thread_notifications;
    std::string summary;   ///< JSON object: newest members laid over older ones
    std::string stripped;  ///< JSON array: events of invite_state or knock_state
    bool direct = false;   ///< in m.direct, or an invite that says so
    std::string tags;      ///< JSON object: `tags` of m.tag
    bool marked_unread = false;
};

/// What one poll brought for one room.
struct Entry {
    Position seq;
    RoomKey room_key;
    RoomId room;
    Section section{};
    std::vector<EventRef> events;                             ///< in the poll's order
    std::vector<std::optional<std::string>> transaction_ids;  ///< as many as events, or none at all
    bool gap = false;                                         ///< what came before is not known to join up with it
    bool limited = false;                                     ///< what the poll itself said
    std::optional<std::string> prev_batch;
    std::string next_batch;     ///< the classic token of the answer it came with; empty for a piece that came before its end
    StateKey state;             ///< the state after it; none where no state is known (a left room)
    bool state_changed = true;  ///< against the entry before; false where that is certain, and so with the next two
    bool members = true;        ///< events holds an m.room.member, or the gap may hide one
    bool redacts = true;        ///< events holds a redaction
    std::optional<std::vector<std::string>> typing;  ///< who types, when the poll said so
    std::int64_t age_ms = 0;                         ///< since it was stored, by PostgreSQL's clock, when it was read
};

struct ToDeviceMessage {
    Position seq;
    std::string body;
};
struct AccountDataEvent {
    Position seq;
    std::string type;
    std::string body;
};
struct DeviceListChange {
    Position seq;
    UserId user;
    bool left = false;
};
/// Absent is absent upstream, which is not the same as empty.
struct KeyCounts {
    Position seq;
    std::optional<std::string> one_time_keys_count;
    std::optional<std::string> unused_fallback_key_types;
};

/// What has come to a device's log in (from, to]; each list in order of seq.
struct News {
    Position from;
    Position to;
    std::vector<Entry> entries;
    std::vector<RoomRow> rooms;  ///< all that have changed, in order of seq, each as it is now: it may be ahead of `to`
    std::vector<ToDeviceMessage> to_device;
    std::vector<AccountDataEvent> account_data;
    std::vector<DeviceListChange> device_lists;
    std::optional<KeyCounts> key_counts;  ///< the newest, if they changed
    bool whole = false;                   ///< as in DeviceRow
};

/// The log of a device and who writes it: design of the device log, ARCHITECTURE.md.
class LogStore {
  public:
    virtual ~LogStore() = default;

    /// Finds the device, or makes its row. Throws MatrixError 403 when the user is of another homeserver than this database (rule 34).
    virtual Task<DeviceRow> device(const UserId& user, const DeviceId& device) = 0;

    struct Claim {
        std::optional<Lease> lease;        ///< none: `row.owner` is alive and has it
        DeviceRow row;                     ///< without a key: the device has been pruned
        std::optional<std::string> since;  ///< to go on polling from
    };
    /// Takes the log over if its owner is dead, has let go, or is the one that says it does not have it (`disclaimed`). The new owner's
    /// numbers start 2^32 later.
    virtual Task<Claim> claim(DeviceKey device, WorkerKey worker, WorkerKey disclaimed = {}) = 0;
    /// Lets go of logs; those that have been lost meanwhile are passed over.
    virtual Task<void> release(std::vector<Lease> leases) = 0;

    /// A part of one answer of the homeserver, in one transaction. `rest` is null for all but the last piece: it stores `since`, and with
    /// it what `since` acknowledges. `from` is the `since` the answer was asked with. The result is what the transaction added to the log:
    /// from is its end before.
    struct Piece {
        Lease lease;
        std::optional<std::string> from;
        Instant asked{};  ///< when the homeserver was asked
        /// Where the log stood when the answer began to arrive. Only the last piece of an answer without `since` needs it, to tell the
        /// rooms that its earlier pieces listed from those that the answer omits; none: everything after the stored `since` is taken to be
        /// of it.
        std::optional<Position> began;
        /// Where the log ends for all its writer knows. It ends elsewhere when a crash or a failover has lost commits: to go on from `from`
        /// would leave out what they held. None: wherever it ends.
        std::optional<Position> end;
        std::vector<RoomPart> rooms;
        /// Rooms of which this answer has brought more members than the parts of its earlier pieces hold: RoomStore::store_members().
        std::vector<RoomId> more_members;
        std::unique_ptr<AnswerRest> rest;

        Piece();
        Piece(Piece&&) noexcept;
        Piece& operator=(Piece&&) noexcept;
        ~Piece();
    };
    struct Ingested {
        bool lease_lost = false;  ///< another worker has the log, or its end is lost: nothing was changed
        News news;
        /// Events that were stored by this, and not only listed: what will be asked for first. Somebody may have redacted them since.
        std::vector<StoredEvent> stored;
        /// Rooms of which this has redacted events that were there before; true when some were state. Not every log of the room tells it.
        std::map<RoomKey, bool> redacted;
        std::vector<RoomId> without_state;  ///< joined rooms that were set aside because nothing says how they were made (rule 11)
    };
    /// A room that cannot be processed is set aside with a log line, in the same transaction, and tried again with its next part.
    virtual Task<Ingested> ingest(Piece piece) = 0;
    /// Tries a room again that was set aside, with the state that `GET /rooms/{id}/state` gave.
    virtual Task<Ingested> ingest_aside(Lease lease, std::optional<Position> end, RoomId room, std::vector<Event> state) = 0;

    /// What came after a position, from `from` on, which is further where the log has been pruned. The log may reach further than `to`: the
    /// caller asks again.
    virtual Task<News> news(DeviceKey device, Position after) = 0;

    /// Still kept, after a position, oldest first.
    virtual Task<std::vector<ToDeviceMessage>> to_device(DeviceKey device, Position after, int limit) = 0;
    virtual Task<std::vector<DeviceListChange>> device_lists(DeviceKey device, Position after) = 0;
    virtual Task<std::vector<AccountDataEvent>> account_data(DeviceKey device, Position after) = 0;
    virtual Task<KeyCounts> key_counts(DeviceKey device) = 0;
    /// The entries that say who types, or that the user is not in the room, of the log's present owner and not older than `max_age`.
    virtual Task<std::vector<Entry>> typing(DeviceKey device, Milliseconds max_age) = 0;
};

/// What a session has acknowledged of what is deleted when all have; absent when it does not ask for the stream.
struct Acknowledged {
    std::optional<Position> to_device;
    std::optional<Position> e2ee;

    bool operator==(const Acknowledged&) const = default;
};

struct SessionRow {
    SessionId id;
    DeviceKey device;
    Acknowledged acknowledged;
    Position reach;
};

/// A session that has been used, and its reach: what is answered to the token that it last came back with, and to those given in answer
/// to it, begins here in the device's log, or later.
struct UsedSession {
    SessionId id;
    Position reach;
};

/// Sessions and what they asked for. Everything that changes a session locks its device's row first.
class SessionStore {
  public:
    virtual ~SessionStore() = default;

    struct Opened {
        SessionId id;
        std::vector<SessionId> dropped;  ///< the longest unused ones, above `most`
    };
    /// Its first filter has number 1.
    virtual Task<Opened> open(DeviceKey device, std::string filter, Acknowledged asks, Position reach, int most) = 0;
    /// None when it is gone, or has not been used for `expiry`.
    virtual Task<std::optional<SessionRow>> session(const SessionId& id, Milliseconds expiry) = 0;
    /// None when it is gone.
    virtual Task<std::optional<std::string>> filter(const SessionId& id, int number) = 0;
    /// The number of this filter, one that the session has already among those above `base`, or a new one. Filters below `base` go. None
    /// when the session is gone.
    virtual Task<std::optional<int>> add_filter(const SessionId& id, int base, std::string filter) = 0;
    /// Stores what the session acknowledged (never less than before, but for a stream it had dropped), and deletes what nobody needs any
    /// more (rule 23).
    /// False when the session is gone.
    virtual Task<bool> acknowledge(const SessionId& id, DeviceKey device, Acknowledged acknowledged) = 0;
    /// These have been used just now, and their devices. Gives the sessions that are gone.
    virtual Task<std::vector<SessionId>> touch(std::vector<UsedSession> sessions, std::vector<DeviceKey> devices) = 0;
    /// Drops some sessions unused for `expiry`, with what only they held back; returns them. Fewer than asked for: there are no more.
    virtual Task<std::vector<SessionId>> expire(Milliseconds expiry, int most) = 0;
    /// Ends the device's sessions that ask for device lists; returns them.
    virtual Task<std::vector<SessionId>> end_e2ee(DeviceKey device) = 0;
    /// Whether the device has been used within `idle`, by any worker.
    virtual Task<bool> in_use(DeviceKey device, Milliseconds idle) = 0;
};

/// Which access tokens belong to which device. Only a SHA-256 of a token is ever kept.
class TokenStore {
  public:
    virtual ~TokenStore() = default;

    struct Known {
        DeviceRow row;
        Milliseconds age;  ///< since the homeserver last said so
    };
    virtual Task<std::optional<Known>> token(const std::string& access_token) = 0;
    virtual Task<void> remember_token(const std::string& access_token, DeviceKey device) = 0;
    virtual Task<void> forget_token(const std::string& access_token) = 0;
};

/// Deletes what nobody can ask for any more, in small steps: ARCHITECTURE.md, "Pruning".
class PruneStore {
  public:
    virtual ~PruneStore() = default;

    /// One step of a pass over everything there is; `expiry` is how long a session lives unused. False when there is nothing to do at
    /// present, or another worker is at it.
    virtual Task<bool> prune(Milliseconds expiry) = 0;
};

/// The workers that share the database, and how they tell each other things.
class WorkerStore {
  public:
    virtual ~WorkerStore() = default;

    struct Mail {
        virtual ~Mail() = default;
        /// This worker is known under a new key: everything it owned is lost, and what it was told meanwhile too.
        virtual void registered(WorkerKey self) = 0;
        virtual void disconnected() = 0;
        virtual void told(std::string_view message) = 0;
    };
    /// Once, before anything else. Registers the worker on every new connection to the database and keeps its row alive.
    virtual void attach(Mail& mail) = 0;
    /// To one worker, or to all (0). Soon, coalesced, and lost when nobody listens. A message has no comma and at most 200 bytes.
    virtual void tell(WorkerKey to, std::string message) = 0;
    /// Tells the database that this worker is gone; after that nothing is alive.
    virtual Task<void> leave() = 0;
    /// Who is alive, as of a few seconds ago at most.
    virtual bool alive(WorkerKey worker) const = 0;
    /// Where logs stand that others write, of those that stand behind or have another owner than given.
    virtual Task<std::vector<DeviceRow>> moved(std::vector<DeviceRow> known) = 0;
};

}  // namespace matrix_sync
