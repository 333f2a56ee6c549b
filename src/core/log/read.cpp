#include "core/log/read.hpp"

#include <algorithm>

namespace matrix_sync {
namespace {

/// How many entries read_last() uses.
std::size_t reach(std::span<const Entry> newest_first, std::size_t most) {
    std::size_t used = 0;
    std::size_t events = 0;
    while (used < newest_first.size()) {
        const Entry& entry = newest_first[used++];
        events += entry.events.size();
        if (entry.gap || events >= most) break;
    }
    return used;
}

void append(Timeline& timeline, const Entry& entry) {
    timeline.events.insert(timeline.events.end(), entry.events.begin(), entry.events.end());
    if (entry.transaction_ids.empty()) {
        timeline.transaction_ids.resize(timeline.events.size());
    } else {
        timeline.transaction_ids.insert(timeline.transaction_ids.end(), entry.transaction_ids.begin(), entry.transaction_ids.end());
    }
}

/// Of entries that are shown whole, oldest first, and the newest shown: the first that the homeserver gave.
std::optional<std::string> prev_batch(std::span<const Entry* const> whole, const Entry& newest) {
    auto found = std::ranges::find_if(whole, [](const Entry* entry) { return entry->prev_batch.has_value(); });
    if (found != whole.end()) return (*found)->prev_batch;
    if (newest.next_batch.empty()) return std::nullopt;
    return newest.next_batch;
}

}  // namespace

Delta read_delta(std::span<const Entry> entries, std::optional<Section> before) {
    Delta delta;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].section == Section::join && before != Section::join) delta.initial = true;
        before = entries[i].section;
        if (!entries[i].gap) continue;
        begin = i;
        delta.timeline.limited = true;
    }
    if (entries.empty()) return delta;

    std::vector<const Entry*> shown;
    for (const Entry& entry : entries.subspan(begin)) {
        shown.push_back(&entry);
        append(delta.timeline, entry);
    }
    delta.timeline.prev_batch = prev_batch(shown, entries.back());
    return delta;
}

bool reaches_back(std::span<const Entry> newest_first, std::size_t most) {
    std::size_t events = 0;
    for (const Entry& entry : newest_first) {
        events += entry.events.size();
        if (entry.gap || events >= most) return true;
    }
    return false;
}

Timeline read_last(std::span<const Entry> newest_first, std::size_t most) {
    Timeline timeline;
    if (newest_first.empty()) return timeline;

    std::vector<const Entry*> shown;
    for (const Entry& entry : newest_first.first(reach(newest_first, most))) shown.push_back(&entry);
    std::ranges::reverse(shown);
    for (const Entry* entry : shown) append(timeline, *entry);

    std::span<const Entry* const> whole = shown;
    timeline.limited = shown.front()->gap ? shown.front()->limited : true;
    if (timeline.events.size() > most) {
        const auto cut = static_cast<std::ptrdiff_t>(timeline.events.size() - most);
        timeline.events.erase(timeline.events.begin(), timeline.events.begin() + cut);
        timeline.transaction_ids.erase(timeline.transaction_ids.begin(), timeline.transaction_ids.begin() + cut);
        timeline.limited = true;
        whole = whole.subspan(1);
    }
    timeline.prev_batch = prev_batch(whole, newest_first.front());
    return timeline;
}

}  // namespace matrix_sync
