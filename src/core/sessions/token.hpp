// The `since` of sync v3: which session, what it asked for, and how far each of its streams has come.
//
// A token is no secret: it opens nothing without the access token of its device, and every number in it is a place in that device's own
// log.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "core/streams/stream.hpp"
#include "matrix_sync/ids.hpp"

namespace matrix_sync {

struct SyncToken {
    SessionId session;
    int filter = 0;
    Position log;  ///< the end of the device's log when the answer was composed
    Cursors cursors{};

    /// What is read of the log to answer this token, or one given in answer to it, comes after this place.
    Position reach() const;

    /// `v1_SESSION_FILTER_LOG_CURSOR…`, numbers in hexadecimal: nothing in it needs encoding in a URL.
    std::string encode() const;
    /// Nothing if it is no token of ours. Streams that the token does not know yet start at 0.
    static std::optional<SyncToken> decode(std::string_view text);

    /// What it says of numbers behind `end` counts as `end`: PostgreSQL has lost them.
    void go_back_to(Position end);

    bool operator==(const SyncToken&) const = default;
};

}  // namespace matrix_sync
