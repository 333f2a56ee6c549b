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

/// What m.room.create says, where the part holds one.
std::optional<std::string> version_of(const RoomPart& part);
/// The part says all there is to know, whatever came before.
bool begins_anew(const RoomPart& part, bool first);

/// Lives as long as its transaction. Locks in one order: devices by number, rooms by ID, events by ID, then state sets.
class Ingestion {
  public:
    /// At most one delivery for each device.
    Ingestion(Transaction& transaction, std::vector<const Delivery*> deliveries);

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
        std::string name;  ///< for the operator
        KeyCounts counts;
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
        KnownEntries known;
        KnownEntries known_at_first;  ///< before any step
        std::vector<Step> steps;
        std::size_t next = 0;                  ///< the step that comes next
        bool begins_with_gap = false;          ///< parts that were set aside have been given up
        bool lacks_state = false;              ///< they may have held state
        std::vector<std::int64_t> aside;       ///< numbers of all parts that are set aside
        std::vector<std::int64_t> superseded;  ///< of those that the new ones repeat
        std::vector<Entry> entries;            ///< what has been made of the steps
        std::string failure;                   ///< why the room is set aside
        bool without_state = false;            ///< it is because nothing says how the room was made
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
    void insert_rooms();
    void take_devices(const Rows& rows);
    void take_rooms(const Rows& rows);
    void take_known(const Rows& rows);
    void take_aside(const Rows& rows);
    void add_aside(RoomWork& work, std::int64_t number, RoomPart part, const std::optional<std::string>& since);

    // ingest_events.cpp
    Task<void> store_events();
    void set_versions();
    std::vector<Query> send_events();

    // ingest_rooms.cpp
    Task<void> append_rooms();
    Task<void> find_states(std::vector<NextState>& round, std::map<StateKey, LoadedState>& loaded);
    std::optional<NextState> next_state(RoomWork& work);
    std::optional<ListedPart> listed(const RoomWork& work, const Step& step) const;
    void append(NextState& next);
    void fail(RoomWork& work, std::string why, bool without_state = false);

    // ingest_write.cpp
    Task<void> write();
    void write_rooms(std::size_t delivery);
    void set_aside(RoomWork& work);
    Task<void> leave_omitted(std::size_t delivery);
    void write_entry(std::size_t delivery, Entry entry);
    void write_rest(std::size_t delivery, const AnswerRest& rest);
    void write_to_device(std::size_t delivery, const AnswerRest& rest);
    void write_device_lists(std::size_t delivery, const AnswerRest& rest);
    void write_account_data(std::size_t delivery, const AnswerRest& rest);
    void write_key_counts(std::size_t delivery, const AnswerRest& rest);
    Position next_position(std::size_t delivery);

    Sending sending_;
    std::vector<const Delivery*> deliveries_;
    std::vector<LogStore::Ingested> results_;
    std::map<DeviceKey, DeviceEnd> ends_;
    std::deque<RoomWork> works_;  ///< in the order of deliveries and their rooms
    std::map<std::pair<std::size_t, RoomId>, RoomWork*> work_by_room_;
    std::deque<RoomPart> parts_;                             ///< those read from what was set aside
    std::map<RoomId, std::optional<std::string>> versions_;  ///< as stored
    std::map<std::string, KnownEvent> events_;               ///< by ID
    std::vector<std::string> lines_;
    bool durable_ = false;
};

}  // namespace matrix_sync
