// What a classic GET /sync answer says, cut into the parts that are stored: client-server specification, "Syncing".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "matrix_sync/ids.hpp"

namespace matrix_sync {

/// A room event. `body` is the homeserver's bytes, except that `unsigned` keeps only what is the same for every user (rule 17).
struct Event {
    EventId event_id;
    std::string type;
    std::optional<std::string> state_key;  ///< absent: not a state event
    UserId sender;
    std::int64_t origin_server_ts = 0;          ///< milliseconds since 1970; 0 when absent or out of range
    std::optional<EventId> redacts;             ///< of m.room.redaction, wherever the room version keeps it
    std::string membership;                     ///< of m.room.member; else empty
    std::string room_version;                   ///< of m.room.create; "1" when it names none; else empty
    std::string room_type;                      ///< of m.room.create; empty when it names none
    std::optional<std::string> transaction_id;  ///< this device's own, and no part of body
    std::string body;

    bool is_state(std::string_view of_type, std::string_view key = {}) const { return state_key && type == of_type && *state_key == key; }
    bool is_member() const { return state_key && type == "m.room.member"; }
    bool operator==(const Event&) const = default;
};

/// Which part of `rooms` a room stood in. The numbers are stored.
enum class Section : std::int16_t { join = 1, leave = 2, invite = 3, knock = 4 };

/// One room of an answer.
struct RoomPart {
    RoomId room;
    Section section = Section::join;
    std::vector<Event> timeline;
    bool limited = false;
    std::optional<std::string> prev_batch;
    std::vector<Event> state;                        ///< the block beside the timeline, members included
    bool state_is_after = false;                     ///< the block is the state after the timeline (`state_after`), not before it
    std::optional<std::vector<std::string>> typing;  ///< user_ids of m.typing, if the answer has one
    std::vector<std::string> receipts;               ///< m.receipt EDUs, as they came
    std::vector<std::string> account_data;           ///< events, as they came
    std::string summary;                             ///< the object, as it came; empty when absent
    std::string unread_notifications;                ///< likewise
    std::string unread_thread_notifications;         ///< likewise
    std::vector<std::string> stripped_state;         ///< events of invite_state or knock_state, as they came
    std::string raw;     ///< the whole object, as it came: what is stored when the room has to be set aside (rule 3)
    std::string broken;  ///< why this part could not be read; then only room, section and raw are set. Else empty

    bool operator==(const RoomPart&) const = default;
};

/// Some of a room's newest member events.
struct RoomMembers {
    RoomId room;
    std::vector<Event> members;
};

/// Everything of an answer that is not rooms.
struct AnswerRest {
    std::string next_batch;
    std::vector<std::string> to_device;  ///< events, byte for byte as they came, in order
    struct AccountData {
        std::string type;
        std::string body;  ///< the event, as it came
        bool operator==(const AccountData&) const = default;
    };
    std::vector<AccountData> account_data;
    std::vector<UserId> device_lists_changed;
    std::vector<UserId> device_lists_left;
    std::optional<std::string> one_time_keys_count;        ///< the object, as it came
    std::optional<std::string> unused_fallback_key_types;  ///< the array, as it came

    bool operator==(const AnswerRest&) const = default;
};

}  // namespace matrix_sync
