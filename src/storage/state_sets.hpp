// State sets in PostgreSQL: immutable, one row for each different set of a room, found by the SHA-256 of its refs.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "core/log/state.hpp"
#include "matrix_sync/database.hpp"
#include "matrix_sync/task.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

struct LoadedState {
    StateMap state;
    StateRoot root;  ///< what another set of this room may be a difference to: the set itself, or its parent
};

struct NewState {
    RoomKey room;
    StateMap state;
    const StateRoot* root = nullptr;  ///< of a set that it is likely to resemble
};

/// Sets that do not exist are left out. `Run` is a Database or a Transaction.
template <class Run>
Task<std::map<StateKey, LoadedState>> load_states(Run& run, std::vector<StateKey> keys);
extern template Task<std::map<StateKey, LoadedState>> load_states(Database&, std::vector<StateKey>);
extern template Task<std::map<StateKey, LoadedState>> load_states(Transaction&, std::vector<StateKey>);

/// From room_state.heads.
StateHeads read_heads(const std::vector<std::int64_t>& refs);

/// The keys of sets, in their order; those that do not exist are made.
Task<std::vector<StateKey>> intern_states(Sending& sending, std::vector<NewState> states);

}  // namespace matrix_sync
