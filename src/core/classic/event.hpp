// Reads one room event.
#pragma once

#include "core/classic/answer.hpp"
#include "core/json/cursor.hpp"

namespace matrix_sync {

/// Takes the event the cursor stands before. Throws JsonError when it lacks what every event has, or when that is of the wrong type or
/// longer than 255 characters: client-server specification, "Room event format" and "Size limits". (Characters, because older room
/// versions never counted bytes.)
Event read_event(JsonCursor& cursor);

/// Whether the homeserver has redacted it already.
bool comes_redacted(const Event& event);

/// Is `text` short enough to be an identifier, and for PostgreSQL to index it?
bool is_identifier(std::string_view text);

}  // namespace matrix_sync
