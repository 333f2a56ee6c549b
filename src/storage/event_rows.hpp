// Rows of events, for all who store some. Each is one row whoever brought it first.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/classic/answer.hpp"
#include "matrix_sync/store.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

/// Events to be stored, column by column. They are added in the order of their IDs: that is the order of locks.
class EventRows {
  public:
    void add(const std::string& id, RoomKey room, const Event& event);

    const std::vector<std::string>& ids() const { return ids_; }
    const std::vector<std::int64_t>& rooms() const { return rooms_; }

    /// Stores those that are not there. Gives `event_id`, `ref` of these.
    Query insert(Sending& sending) const;

  private:
    std::vector<std::string> ids_;
    std::vector<std::int64_t> rooms_;
    std::vector<std::string> types_;
    std::vector<std::optional<std::string>> state_keys_;
    std::vector<std::string> senders_;
    std::vector<std::int64_t> times_;
    std::vector<std::string> bodies_;
};

/// Gives `event_id`, `ref`, `room`, `unused` of those that are there.
Query find_events(Sending& sending, const std::vector<std::string>& ids);

/// Which of some events, of so many rooms, a redaction is waiting for: for redact_stored(). Locks them.
Query find_unredacted(Sending& sending, const std::vector<std::int64_t>& rooms, const std::vector<std::string>& ids);

struct RedactedEvent {
    EventRef ref;
    RoomKey room;
    std::string type;
    std::optional<std::string> state_key;
};
/// Redacts what find_unredacted() gave, and says what that was.
std::vector<RedactedEvent> redact_stored(Sending& sending, const Rows& unredacted);

/// These bodies are what redactions have left of events; one that is redacted stays as it is.
void put_redacted(Sending& sending, const std::vector<std::int64_t>& refs, const std::vector<std::string>& bodies);

}  // namespace matrix_sync
