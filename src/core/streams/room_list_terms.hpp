// What a client asks of its room list: api.md, room_list.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/value.hpp"
#include "core/rooms/room_order.hpp"
#include "core/streams/state_json.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

struct RoomListTerms {
    /// Throws MatrixError 400 M_BAD_JSON that names the field.
    explicit RoomListTerms(const Fields& fields);

    std::vector<RoomId> spaces;  ///< none: all rooms
    RoomFilters filters;
    std::vector<RoomSort> sorts;  ///< never empty
    RequiredState required;
    int timeline_limit = 0;
    int limit = 0;
    /// `p.sort` as it is used: a string or an array, as it was asked for.
    Json used_sort;

    /// As it was asked for, defaults left out.
    Json params;
    /// The same without the limit: what pages of one snapshot have in common.
    std::string snapshot_params() const;

    bool names() const;  ///< names are looked at
};

/// The `p.since` of a page: `SNAPSHOT_OFFSET`.
struct RoomListPageToken {
    int snapshot = 0;
    std::int64_t offset = 0;

    std::string encode() const { return std::to_string(snapshot) + '_' + std::to_string(offset); }
    /// Throws MatrixError 400 M_INVALID_PARAM.
    static RoomListPageToken decode(std::string_view text);
};

MatrixError no_such_list_page();

}  // namespace matrix_sync
