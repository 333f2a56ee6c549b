// The timelines that answers show: what the device's log has of a room, as the client asked for it.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/json/value.hpp"
#include "core/streams/reading.hpp"

namespace matrix_sync {

/// `types` and `not_types`, patterns in which `*` stands for any text: client-server specification, "Filtering".
class TimelineFilter {
  public:
    TimelineFilter() = default;
    /// Throws MatrixError 400 M_BAD_JSON that names the field.
    explicit TimelineFilter(const Fields& fields);

    bool shows(const std::string& type) const;
    /// Adds what was asked for.
    void write(Json& params) const;

  private:
    std::optional<std::vector<std::string>> types_;
    std::vector<std::string> not_types_;
};

struct ShownTimeline {
    std::vector<std::string> events;  ///< JSON, ready to be sent
    bool limited = false;
    std::optional<std::string> prev_batch;
    std::set<std::string> senders;

    /// `{"events": […], "limited": …, "prev_batch": …}`
    std::string json() const;
};

/// The newest `limit` events of each room in the device's log up to `to`. As many as rows, in their order.
Task<std::vector<ShownTimeline>> last_timelines(Reading& reading, std::vector<RoomRow> rows, Position to, TimelineFilter filter, int limit);

/// The newest `limit` events of entries in order, from the last gap on; `limited` also when there are more.
Task<ShownTimeline> delta_timeline(Reading& reading, std::vector<Entry> entries, TimelineFilter filter, int limit);

}  // namespace matrix_sync
