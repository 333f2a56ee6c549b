// The name of a room as people see it: client-server specification, "Calculating the display name for a room".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace matrix_sync {

struct NameParts {
    struct Hero {
        std::string user_id;
        std::optional<std::string> displayname;
        std::string membership;  ///< empty when nobody has said
    };

    std::optional<std::string> name;             ///< m.room.name; empty is none
    std::optional<std::string> canonical_alias;  ///< as read_canonical_alias() has it; empty is none
    std::vector<Hero> heroes;                    ///< without the user, in the homeserver's order
    /// Counts with the user; 0 where nobody has said, as for an invite. Heroes that are joined or invited count at any rate.
    std::int64_t joined = 0, invited = 0;
};

/// Joined or invited, as far as anybody has said.
bool may_be_here(const NameParts::Hero& hero);

/// At most five heroes are named, and only those who have not left, unless everybody has: "Empty Room (was Alice)". The others are counted.
/// Heroes who share a display name get their user IDs with it. Not empty as long as no hero's user ID is.
std::string room_name(const NameParts& parts);

}  // namespace matrix_sync
