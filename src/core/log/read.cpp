#include "core/log/read.hpp"

#include <algorithm>

namespace matrix_sync {
namespace {

std::size_t count_shown(const Entry& entry, const Shown& shown) {
    if (!shown) return entry.events.size();
    return static_cast<std::size_t>(std::ranges::count_if(entry.events, shown));
}

/// How many entries read_last() uses.
std::size_t reach(std::span<const Entry> newest_first, std::size_t most, const Shown& shown) {
    std::size_t used = 0;
    std::size_t events = 0;
    while (used < newest_first.size()) {
        const Entry& entry = newest_first[used++];
        events += count_shown(entry, shown);
        if (entry.gap || events >= most) break;
    }
    return used;
}

void append(Timeline& timeline, const Entry& entry, const Shown& shown) {
    for (std::size_t i = 0; i < entry.events.size(); ++i) {
        if (shown && !shown(entry.events[i])) continue;
        timeline.events.push_back(entry.events[i]);
        timeline.transaction_ids.push_back(entry.transaction_ids.empty() ? std::nullopt : entry.transaction_ids[i]);
    }
}

/// Of entries that are shown whole, oldest first, and the newest shown: the first that the homeserver gave.
std::optional<std::string> prev_batch(std::span<const Entry* const> whole, const Entry& newest) {
    auto found = std::ranges::find_if(whole, [](const Entry* entry) { return entry->prev_batch.has_value(); });
    if (found != whole.end()) return (*found)->prev_batch;
    if (newest.next_batch.empty()) return std::nullopt;
    return newest.next_batch;
}

/// The entries that begin with the first event shown, or come after it: going back from one of them meets whatever stands before that
/// event, also what the client does not want to see.
std::span<const Entry* const> behind(std::span<const Entry* const> run, std::optional<EventRef> first_shown) {
    std::size_t begin = run.size();
    for (std::size_t i = run.size(); i-- > 0;) {
        const std::vector<EventRef>& events = run[i]->events;
        auto first = first_shown ? std::ranges::find(events, *first_shown) : events.end();
        if (first != events.end()) return run.subspan(first == events.begin() ? i : i + 1);
        if (!first_shown && !events.empty()) return run.subspan(i + 1);
        begin = i;
    }
    return run.subspan(begin);
}

/// The last `most` events of entries, oldest first, that have no hole between them.
Timeline newest_of(std::span<const Entry* const> run, std::size_t most, const Shown& shown) {
    Timeline timeline;
    for (const Entry* entry : run) append(timeline, *entry, shown);
    if (timeline.events.size() > most) {
        const auto surplus = static_cast<std::ptrdiff_t>(timeline.events.size() - most);
        timeline.events.erase(timeline.events.begin(), timeline.events.begin() + surplus);
        timeline.transaction_ids.erase(timeline.transaction_ids.begin(), timeline.transaction_ids.begin() + surplus);
        timeline.limited = true;
    }
    const auto first_shown = timeline.events.empty() ? std::nullopt : std::optional(timeline.events.front());
    timeline.prev_batch = prev_batch(behind(run, first_shown), *run.back());
    return timeline;
}

}  // namespace

Delta read_delta(std::span<const Entry> entries, std::optional<Section> before, std::size_t most, const Shown& shown) {
    Delta delta;
    std::size_t begin = 0;
    bool gap = false;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].section == Section::join && before != Section::join) delta.initial = true;
        before = entries[i].section;
        if (!entries[i].gap) continue;
        begin = i;
        gap = true;
    }
    if (entries.empty()) return delta;

    std::vector<const Entry*> run;
    for (const Entry& entry : entries.subspan(begin)) run.push_back(&entry);
    delta.timeline = newest_of(run, most, shown);
    delta.timeline.limited = delta.timeline.limited || gap;
    return delta;
}

bool reaches_back(std::span<const Entry> newest_first, std::size_t most, const Shown& shown) {
    std::size_t events = 0;
    for (const Entry& entry : newest_first) {
        events += count_shown(entry, shown);
        if (entry.gap || events >= most) return true;
    }
    return false;
}

Timeline read_last(std::span<const Entry> newest_first, std::size_t most, const Shown& shown) {
    if (newest_first.empty()) return {};
    std::vector<const Entry*> run;
    for (const Entry& entry : newest_first.first(reach(newest_first, most, shown))) run.push_back(&entry);
    std::ranges::reverse(run);
    Timeline timeline = newest_of(run, most, shown);
    timeline.limited = timeline.limited || !run.front()->gap || run.front()->limited;
    return timeline;
}

}  // namespace matrix_sync
