#include "core/log/append.hpp"

#include <algorithm>
#include <functional>

namespace matrix_sync {
namespace {

bool stripped(Section section) {
    return section == Section::invite || section == Section::knock;
}

bool says_create(const std::vector<ListedEvent>& events) {
    return std::ranges::any_of(events, [](const ListedEvent& event) { return event.name == create_name(); });
}

bool says_state(const std::vector<ListedEvent>& events) {
    return std::ranges::any_of(events, [](const ListedEvent& event) { return event.name.has_value(); });
}

std::optional<EventRef> newest_event(const std::vector<Entry>& entries) {
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
        if (!entry->events.empty()) return entry->events.back();
    }
    return std::nullopt;
}

}  // namespace

Placed place(const KnownEntries& known, const ListedPart& part) {
    const Entry* live = known.live();
    const bool entered = live && part.section != Section::leave && live->section != part.section;
    if (part.first || !live || entered) return {0, true, part.prev_batch};

    auto anchor = newest_event(known.replay);
    if (!anchor) return {0, part.limited, part.prev_batch};

    auto found = std::find_if(part.timeline.rbegin(), part.timeline.rend(), [&](const ListedEvent& event) { return event.ref == *anchor; });
    if (found == part.timeline.rend()) return {0, true, part.prev_batch};
    return {static_cast<std::size_t>(part.timeline.rend() - found), false, std::nullopt};
}

Ground ground(const KnownEntries& known, const ListedPart& part) {
    if (part.first || !known.base || !known.base->state) return Ground::nothing;
    if (stripped(part.section)) return Ground::nothing;
    if (says_create(part.block) || says_create(part.timeline)) return Ground::nothing;
    const bool said = says_state(part.block) || (!part.block_is_after && says_state(part.timeline));
    return said ? Ground::base : Ground::same;
}

StateMap state_after(StateMap state, const ListedPart& part) {
    for (const ListedEvent& event : part.block) {
        if (event.name) state[*event.name] = event.ref;
    }
    if (part.block_is_after) return state;
    for (const ListedEvent& event : part.timeline) {
        if (event.name) state[*event.name] = event.ref;
    }
    return state;
}

std::optional<Entry> make_entry(const KnownEntries& known, const ListedPart& part, const Placed& placed, StateKey state) {
    const Entry* live = known.live();
    if (!live && part.section == Section::leave) return std::nullopt;
    const bool news = placed.begin < part.timeline.size() || placed.gap || part.typing;
    if (!news && live && live->section == part.section && live->state == state) return std::nullopt;

    Entry entry;
    entry.section = part.section;
    for (std::size_t i = placed.begin; i < part.timeline.size(); ++i) entry.events.push_back(part.timeline[i].ref);
    if (!part.transaction_ids.empty()) {
        entry.transaction_ids.assign(part.transaction_ids.begin() + static_cast<std::ptrdiff_t>(placed.begin), part.transaction_ids.end());
    }
    auto holds = [&](bool ListedEvent::*kind) {
        return std::any_of(part.timeline.begin() + static_cast<std::ptrdiff_t>(placed.begin), part.timeline.end(), std::mem_fn(kind));
    };
    entry.state_changed = !live || live->state != state;
    entry.members = placed.gap || holds(&ListedEvent::member) || std::ranges::any_of(part.block, &ListedEvent::member);
    entry.redacts = holds(&ListedEvent::redaction) || std::ranges::any_of(part.block, &ListedEvent::redaction);
    entry.gap = placed.gap;
    entry.limited = part.limited;
    entry.prev_batch = placed.prev_batch;
    entry.next_batch = part.next_batch;
    entry.state = state;
    entry.typing = part.typing;
    return entry;
}

Entry omitted_entry(const Entry& live, const std::string& next_batch) {
    Entry entry;
    entry.room_key = live.room_key;
    entry.room = live.room;
    entry.section = Section::leave;
    entry.gap = true;
    entry.limited = true;
    entry.next_batch = next_batch;
    entry.state = live.state;
    entry.state_changed = false;
    entry.redacts = false;
    return entry;
}

}  // namespace matrix_sync
