// One transaction that turns deliveries (parts of the homeserver's answers to several devices) into log entries. Which deliveries go
// together, and what happens when the transaction fails, is logs.cpp's business.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/log/append.hpp"
#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"
#include "storage/ingest_sending.hpp"
#include "storage/members.hpp"
#include "storage/state_sets.hpp"

namespace matrix_sync {

/// What is to be ingested for one device.
struct Delivery {
    LogStore::Piece piece;
    /// As many as piece.rooms, or none: why PostgreSQL refuses this room, which is then set aside; empty: it does not.
    std::vector<std::string> refused;
    /// As many as piece.rooms, or none: these are left out, to find out which of the others is refused.
    std::vector<bool> left_out;
    /// Rooms whose parts set aside are given up: it is they that are refused.
    std::set<RoomId> without_aside;

    /// A room that was set aside, with its present state; the piece has then no rooms.
    struct Retry {
        RoomId room;
        std::vector<Event> state;
    };
    std::optional<Retry> retry;
};

/// m.room.create, where the part holds it.
const Event* creation_of(const RoomPart& part);
/// How many events of the timeline are shown to the user whose part it is.
std::size_t shown_length(const RoomPart& part, const std::string& user);
/// The part says all there is to know, whatever came before.
bool begins_anew(const RoomPart& part, bool first);

/// Lives as long as its transaction. Locks in one order: devices by number, rooms by ID, events by ID, state sets, then member lists.
class Ingestion {
  public:
    /// At most one delivery for each device.
    Ingestion(Transaction& transaction, Loop& loop, std::vector<const Delivery*> deliveries);

    /// Everything but the commit; some of it may still be on its way. Once.
    Task<void> carry_out();
    /// Waits for what is on its way.
    Task<void> settled() { return sending_.settled(); }
    /// Durable when it holds something that the homeserver will not send again.
    Task<void> commit() { return sending_.commit(durable_); }

    /// As many as deliveries.
    std::vector<LogStore::Ingested>& results() { return results_; }
    /// For the operator, once it is committed.
    const std::vector<std::string>& lines() const { return lines_; }

  private:
    /// Where a device's log stands; its row is locked.
    struct DeviceEnd {
        std::int64_t epoch = 0;
        bool owned = false;
        Position seq;
        Position since_seq;
        bool whole = false;
        std::string user;
        std::string name;  ///< for the operator
        KeyCounts counts;
        std::map<RoomKey, RoomRow> rooms;  ///< those that this transaction changes
    };

    /// A part of a room that is to be appended.
    struct Step {
        const RoomPart* part = nullptr;
        bool first = false;  ///< the answer had no `since`
        bool aside = false;  ///< it was set aside when it came
        std::string next_batch;
    };

    /// One room of one delivery: the parts of it that were set aside, if any, and the new ones.
    struct RoomWork {
        std::size_t delivery = 0;
        RoomId room;
        RoomKey key;
        bool members_only = false;  ///< no part of it comes, but more members are known
        KnownEntries known;
        KnownEntries known_at_first;  ///< before any step
        std::vector<Step> steps;
        std::size_t next = 0;                  ///< the step that comes next
        bool begins_with_gap = false;          ///< parts that were set aside have been given up
        bool lacks_state = false;              ///< they may have held state
        std::vector<std::int64_t> aside;       ///< numbers of all parts that are set aside
        std::vector<std::int64_t> superseded;  ///< of those that the new ones repeat
        std::vector<Entry> entries;            ///< what has been made of the steps
        std::optional<RoomRow> row;            ///< before any step
        std::string failure;                   ///< why the room is set aside
        bool without_state = false;            ///< it is because nothing says how the room was made
    };

    struct ReceiptRow {
        DeviceKey device;
        RoomKey room;
        Position seq;
        std::string user, type, thread, event_id, body;
    };

    struct RoomAccountDataRow {
        DeviceKey device;
        RoomKey room;
        Position seq;
        std::string type, body;
    };

    struct KnownEvent {
        EventRef ref;
        RoomKey room;
    };

    /// A step whose state is being found.
    struct NextState {
        RoomWork* work = nullptr;
        ListedPart part;
        Ground ground = Ground::nothing;
        StateKey key;
    };

    /// Leaves of a room that this device knows nothing of make no room: rule 11.
    static bool stray(const RoomWork& work);
    bool live(std::size_t delivery) const { return !results_[delivery].lease_lost; }
    DeviceEnd& end_of(std::size_t delivery) { return ends_.at(deliveries_[delivery]->piece.lease.device); }

    // ingest.cpp
    Task<void> take_steps();
    void plan_rooms();
    RoomWork& work_of(std::size_t delivery, const RoomId& room);
    Task<void> read_ends();
    bool insert_rooms();
    void take_devices(const Rows& rows);
    bool take_rooms(const Rows& rows);
    void take_known(const Rows& rows);
    Task<void> take_aside(const Rows& rows);
    void take_rows(const Rows& rows);
    void add_aside(RoomWork& work, std::int64_t number, RoomPart part, const std::optional<std::string>& since);

    // ingest_events.cpp
    Task<void> store_events();
    void set_versions();
    struct EventQueries {
        Query inserted;
        std::optional<Query> taken;  ///< of events that come redacted
        Query found;
        Query unredacted;
    };
    std::optional<EventQueries> send_events();
    bool take_events(const Rows& rows);
    void take_redacted_rows(const Rows& taken);
    void note_redacted(RoomKey room, bool state);
    void redact_events(const Rows& unredacted);
    void take_redacted_member(RoomKey room, std::string_view user, EventRef ref);

    // ingest_rooms.cpp
    Task<void> append_rooms();
    Task<void> find_states(std::vector<NextState>& round, std::map<StateKey, LoadedState>& loaded);
    Task<void> find_heads(std::vector<std::int64_t> states);
    std::optional<NextState> next_state(RoomWork& work);
    std::optional<ListedPart> listed(const RoomWork& work, const Step& step);
    void append(NextState& next);
    void fail(RoomWork& work, std::string why, bool without_state = false);

    // ingest_write.cpp
    Task<void> write();
    void end_delivery(std::size_t delivery);
    void put_results();
    void put_device_ends();
    Task<void> write_rooms(std::size_t delivery);
    Position write_entries(RoomWork& work);
    void give_inserted(const RoomWork& work);
    Task<void> write_member_lists();
    void set_aside(RoomWork& work);
    Task<void> leave_omitted(std::size_t delivery);
    Position write_entry(std::size_t delivery, Entry entry);
    Task<void> write_rest(std::size_t delivery, const AnswerRest& rest);
    Task<void> write_to_device(std::size_t delivery, const AnswerRest& rest);
    void write_device_lists(std::size_t delivery, const AnswerRest& rest);
    Task<void> write_account_data(std::size_t delivery, const AnswerRest& rest);
    void write_key_counts(std::size_t delivery, const AnswerRest& rest);
    Position next_position(std::size_t delivery);

    // ingest_looks.cpp
    Task<void> read_direct_rooms();
    void change_row(RoomWork& work, Position entries_end);
    void change_members(RoomWork& work);
    void put_receipts();
    void put_room_account_data();
    Task<void> leave_rows(std::size_t delivery, const std::map<RoomKey, Position>& left);
    Task<void> change_listed(std::size_t delivery, const AnswerRest& rest);

    Sending sending_;
    std::vector<const Delivery*> deliveries_;
    std::vector<LogStore::Ingested> results_;
    std::map<DeviceKey, DeviceEnd> ends_;
    std::deque<RoomWork> works_;  ///< in the order of deliveries and their rooms
    std::map<std::pair<std::size_t, RoomId>, RoomWork*> work_by_room_;
    std::deque<RoomPart> parts_;  ///< those read from what was set aside
    struct RoomKind {
        std::optional<std::string> version;  ///< none: nobody has seen m.room.create
        std::string type;
    };
    std::map<RoomId, RoomKind> kinds_;
    std::map<std::string, KnownEvent> events_;  ///< by ID
    std::set<std::string> come_redacted_;       ///< by ID
    std::set<EventRef> inserted_;               ///< they are in PostgreSQL as they came, and no result holds them yet
    std::map<StateKey, StateHeads> heads_;      ///< of the states that this transaction comes to
    std::vector<MemberFacts> redacted_members_;
    std::map<RoomKey, bool> redacted_;  ///< as LogStore::Ingested has it
    std::vector<ReceiptRow> receipts_;
    std::vector<RoomAccountDataRow> room_account_data_;
    std::map<std::size_t, std::set<RoomId>> direct_rooms_;  ///< m.direct before this answer, of deliveries that need it
    Loop& loop_;
    Slices slices_{loop_};
    Microseconds time_ = 0;  ///< PostgreSQL's clock
    std::vector<std::string> lines_;
    bool durable_ = false;
};

}  // namespace matrix_sync
