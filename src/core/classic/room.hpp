// Reads one room of an answer.
#pragma once

#include "core/classic/answer.hpp"

namespace matrix_sync {

/// The room whose object is `json`, which a JSON parser has accepted, `depth` objects and arrays deep.
RoomPart read_room(RoomId room, Section section, std::string_view json, std::size_t depth);

/// The room when not even an object was sent for it.
RoomPart broken_room(RoomId room, Section section, std::string_view json, std::string why);

}  // namespace matrix_sync
