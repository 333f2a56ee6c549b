// Rooms, state sets and events that nothing points to are first marked unused, and deleted when that has still been so for a while
// (pruning_rooms.cpp). A transaction that finds such a row, and is going to point to it, takes the mark off and looks again: either the row
// is there and stays, or it was deleted meanwhile and has to be made anew. One that found the row before it was marked has long ended when
// it is deleted, and what it points to is not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/ingest_sending.hpp"

namespace matrix_sync {

void use_rooms(Sending& sending, const std::vector<std::string>& room_ids);
void use_events(Sending& sending, const std::vector<std::string>& event_ids);
void use_states(Sending& sending, const std::vector<std::int64_t>& states);

}  // namespace matrix_sync
