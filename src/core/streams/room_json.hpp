// A room as a list shows it: ROOM of api.md, room_list.
#pragma once

#include <string>
#include <vector>

#include "core/streams/reading.hpp"
#include "core/streams/room_list_terms.hpp"

namespace matrix_sync {

enum class RoomForm {
    whole,
    place,     ///< `{room_id, membership}`: it has been left, and keeps its place in a page
    unlisted,  ///< `{room_id, listed: false}`
};

struct ShownRoom {
    RoomRow row;
    RoomForm form = RoomForm::whole;
};

/// Appends rooms to a JSON array that is begun, until they are many bytes; says how many those are, at least one. `end` is the end of the
/// log when they were chosen.
Task<std::size_t> append_rooms(Reading& reading, const RoomListTerms& terms, std::vector<ShownRoom> rooms, Position end, std::string& out);

}  // namespace matrix_sync
