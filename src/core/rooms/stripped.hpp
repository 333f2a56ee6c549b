// What an invite or a knock tells of its room: client-server specification, "Stripped state".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "matrix_sync/ids.hpp"

namespace matrix_sync {

struct Stripped {
    struct Person {
        UserId user;
        std::string membership;
        std::optional<std::string> displayname;
        std::optional<std::string> avatar_url;
    };

    std::optional<std::string> name;
    std::optional<std::string> canonical_alias;
    std::optional<std::string> avatar_url;
    std::optional<std::string> type;  ///< of m.room.create
    bool encrypted = false;
    UserId inviter;              ///< who sent the user's invite; empty: nobody, or it is not said
    std::vector<Person> people;  ///< whose member events there are, without the user; the inviter, who is one at any rate, first
};

/// `events` is a JSON array; what is no stripped event in it is passed over.
Stripped read_stripped(std::string_view events, const UserId& user);

}  // namespace matrix_sync
