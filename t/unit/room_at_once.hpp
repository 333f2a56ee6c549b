// A room read without pauses.
#pragma once

#include <string>
#include <utility>

#include "core/classic/parser.hpp"

namespace matrix_sync {

inline RoomPart room_at_once(RawRoom room) {
    Slices none;
    return at_once(read_room(std::move(room), none));
}

inline RoomPart room_at_once(RoomId id, Section section, std::string raw) {
    Slices none;
    return at_once(parse_room(std::move(id), section, std::move(raw), none));
}

}  // namespace matrix_sync
