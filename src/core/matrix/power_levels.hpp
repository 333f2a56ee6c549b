// Who has which power in a room: client-server specification, m.room.power_levels, and the room version's own page.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace matrix_sync {

/// A creator's level where the room version puts creators above everybody. All other levels are within ±(2^53-1).
inline constexpr std::int64_t creator_power = std::numeric_limits<std::int64_t>::max();

class PowerLevels {
  public:
    using Named = std::map<std::string, std::int64_t, std::less<>>;

    /// From whole events, of which any may be absent. Versions count as read_create() has them. What the events say amiss counts as absent.
    PowerLevels(std::optional<std::string_view> power_levels_event, std::optional<std::string_view> create_event,
                std::string_view room_version);

    std::int64_t of(std::string_view user_id) const;
    /// Of everybody who is not in named().
    std::int64_t default_level() const { return default_level_; }
    /// The users who have a level of their own, by their IDs.
    const Named& named() const { return named_; }

  private:
    std::int64_t default_level_ = 0;
    Named named_;
};

}  // namespace matrix_sync
