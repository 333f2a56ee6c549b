// Sets of state events, and how one is kept as the difference to another. The sets of the log hold no m.room.member: members are the
// room's own list.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "matrix_sync/store.hpp"

namespace matrix_sync {

inline const StateName& create_name() {
    static const StateName name{"m.room.create", ""};
    return name;
}

/// The name of a state event that belongs into a set; none for messages and members.
std::optional<StateName> state_name(std::string_view type, const std::optional<std::string>& state_key);

/// The names under which two sets differ, in order.
std::vector<StateName> changed_names(const StateMap& before, const StateMap& after);

StateHeads heads_of(const StateMap& state);

/// The events of a set, sorted: what identifies it.
std::vector<EventRef> sorted_refs(const StateMap& state);

/// A whole set that others may be kept as differences to.
struct StateRoot {
    StateKey key;
    std::vector<EventRef> refs;  ///< sorted
};

/// How a set is stored. Without a parent `refs` is the whole set; with one it is what the parent lacks, and `gone` what only the parent
/// has. All sorted. A parent has no parent itself, so that no read follows more than one.
struct StoredState {
    StateKey parent;
    std::vector<EventRef> refs;
    std::vector<EventRef> gone;
};

/// Large sets become a difference to the root, if it is less than half of them.
StoredState pack_state(std::span<const EventRef> whole, const StateRoot* root);
/// The sorted refs again; `parent` is empty where the stored set has none.
std::vector<EventRef> unpack_state(const StoredState& stored, std::span<const EventRef> parent);

}  // namespace matrix_sync
