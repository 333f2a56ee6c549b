#include "core/log/state.hpp"

#include <algorithm>
#include <iterator>

namespace matrix_sync {
namespace {

constexpr std::size_t kept_whole = 64;

}  // namespace

std::optional<StateName> state_name(std::string_view type, const std::optional<std::string>& state_key) {
    if (!state_key || type == "m.room.member") return std::nullopt;
    return StateName{std::string(type), *state_key};
}

std::vector<StateName> changed_names(const StateMap& before, const StateMap& after) {
    std::vector<StateName> changed;
    auto old = before.begin();
    auto now = after.begin();
    while (old != before.end() || now != after.end()) {
        if (now == after.end() || (old != before.end() && old->first < now->first)) {
            changed.push_back((old++)->first);
        } else if (old == before.end() || now->first < old->first) {
            changed.push_back((now++)->first);
        } else {
            if (old->second != now->second) changed.push_back(now->first);
            ++old;
            ++now;
        }
    }
    return changed;
}

StateHeads heads_of(const StateMap& state) {
    auto head = [&](const char* type) {
        auto found = state.find({type, ""});
        return found == state.end() ? EventRef{} : found->second;
    };
    return {head("m.room.name"), head("m.room.canonical_alias"), head("m.room.avatar"), head("m.room.encryption")};
}

std::vector<EventRef> sorted_refs(const StateMap& state) {
    std::vector<EventRef> refs;
    refs.reserve(state.size());
    for (const auto& [name, ref] : state) refs.push_back(ref);
    std::sort(refs.begin(), refs.end());
    refs.erase(std::unique(refs.begin(), refs.end()), refs.end());
    return refs;
}

StoredState pack_state(std::span<const EventRef> whole, const StateRoot* root) {
    if (root && whole.size() > kept_whole) {
        StoredState difference{root->key, {}, {}};
        std::ranges::set_difference(whole, root->refs, std::back_inserter(difference.refs));
        std::ranges::set_difference(root->refs, whole, std::back_inserter(difference.gone));
        if (2 * (difference.refs.size() + difference.gone.size()) <= whole.size()) return difference;
    }
    return {{}, {whole.begin(), whole.end()}, {}};
}

std::vector<EventRef> unpack_state(const StoredState& stored, std::span<const EventRef> parent) {
    std::vector<EventRef> kept;
    std::ranges::set_difference(parent, stored.gone, std::back_inserter(kept));
    std::vector<EventRef> whole;
    std::ranges::set_union(kept, stored.refs, std::back_inserter(whole));
    return whole;
}

}  // namespace matrix_sync
