// The log of one device in the one room of a world, in memory: the core's algorithm and nothing else, and ways to get it wrong.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/log/append.hpp"
#include "core/log/read.hpp"
#include "world.hpp"
// Last: its macros are words that the standard library uses.
#include <check.h>

namespace world {

using namespace matrix_sync;

/// Ways to get it wrong.
struct Mutant {
    bool no_dedupe = false;         ///< a repeated answer is taken whole
    bool base_live = false;         ///< its state is laid over the newest entry's
    bool merge = false;             ///< a full state is laid over the old one
    bool pb_always = false;         ///< a cut chunk keeps its prev_batch
    bool pb_oldest = false;         ///< prev_batch of an entry that is not shown whole
    bool timeline_on_top = false;   ///< the timeline is laid over the state after it
    bool gap_across = false;        ///< a delta reads across a gap
    bool rejoin_continues = false;  ///< a rejoin goes on where the room was left
};

inline std::string front(std::int64_t position) {
    return "p" + std::to_string(position);
}

/// The first position that going back from a token does not meet.
inline std::int64_t position_of(const std::string& token) {
    return std::stoll(token.substr(1)) + (token[0] == 's' ? 1 : 0);
}

/// One device's log of the one room, in memory.
class Log {
  public:
    explicit Log(const Mutant& mutant) : mutant_(mutant) {}

    Position end() const { return entries_.empty() ? Position{} : entries_.back().seq; }
    bool empty() const { return entries_.empty(); }
    void acknowledge() { acknowledged_ = end(); }

    /// An answer that was cut off has no token yet that follows it.
    void ingest(const Answer& answer, bool whole = true) {
        ListedPart part = listed(answer);
        if (!whole) part.next_batch.clear();
        KnownEntries known = known_entries();
        Placed placed = place_with_faults(known, part);
        StateKey state = state_of(known, part);
        auto entry = make_entry(known, part, placed, state);
        if (!entry) return;
        entry->seq = Position{end().value + 1};
        entries_.push_back(*entry);
    }

    Delta read(Position from, Position to) const {
        std::vector<Entry> within;
        std::optional<Section> before;
        for (const Entry& entry : entries_) {
            if (entry.seq <= from) before = entry.section;
            if (entry.seq > from && entry.seq <= to) within.push_back(entry);
        }
        if (mutant_.gap_across) {
            for (Entry& entry : within) entry.gap = false;
        }
        return read_delta(within, before);
    }

    Timeline last(std::size_t most) const {
        std::vector<Entry> newest_first(entries_.rbegin(), entries_.rend());
        std::size_t needed = 1;
        while (needed < newest_first.size() && !reaches_back(std::span(newest_first).first(needed), most)) ++needed;
        newest_first.resize(std::min(needed, newest_first.size()));
        Timeline timeline = read_last(newest_first, most);
        if (mutant_.pb_oldest && !newest_first.empty() && newest_first.back().prev_batch) {
            timeline.prev_batch = newest_first.back().prev_batch;
        }
        return timeline;
    }

    StateMap state(Position at) const {
        StateKey key;
        for (const Entry& entry : entries_) {
            if (entry.seq <= at) key = entry.state;
        }
        return key ? *sets_.at(static_cast<std::size_t>(key.value) - 1) : StateMap{};
    }

  private:
    static ListedPart listed(const Answer& answer) {
        ListedPart part;
        part.section = answer.section;
        part.first = !answer.since;
        part.limited = answer.limited;
        part.prev_batch = front(answer.prev_batch);
        part.block_is_after = answer.state_after;
        part.next_batch = "s" + std::to_string(answer.now);
        for (const TrueEvent& event : answer.timeline) {
            part.timeline.push_back({event.ref, event.name && !is_member(*event.name) ? event.name : std::nullopt});
        }
        for (const auto& [name, ref] : without_members(answer.block)) part.block.push_back({ref, name});
        return part;
    }

    KnownEntries known_entries() const {
        KnownEntries known;
        for (const Entry& entry : entries_) {
            if (entry.seq <= acknowledged_) {
                known.base = entry;
            } else {
                known.replay.push_back(entry);
            }
        }
        return known;
    }

    Placed place_with_faults(KnownEntries known, const ListedPart& part) const {
        if (mutant_.no_dedupe) {
            for (Entry& entry : known.replay) entry.events.clear();
        }
        if (mutant_.rejoin_continues) {
            if (known.base) known.base->section = part.section;
            for (Entry& entry : known.replay) entry.section = part.section;
        }
        Placed placed = place(known, part);
        if (mutant_.rejoin_continues && known.live() && !part.first) placed.gap = false;
        if (mutant_.pb_always) placed.prev_batch = part.prev_batch;
        return placed;
    }

    StateKey state_of(KnownEntries known, ListedPart part) {
        if (mutant_.base_live && known.live()) known.base = *known.live();
        if (mutant_.timeline_on_top) part.block_is_after = false;
        Ground from = ground(known, part);
        if (mutant_.merge && from == Ground::nothing && known.base && known.base->state) from = Ground::base;
        if (from == Ground::same) return known.base->state;
        StateMap state =
            state_after(from == Ground::base ? *sets_.at(static_cast<std::size_t>(known.base->state.value) - 1) : StateMap{}, part);
        ck_assert_msg(state.contains(create_name()), "a joined room without m.room.create");
        auto [found, fresh] = keys_.emplace(std::move(state), StateKey{static_cast<std::int64_t>(sets_.size()) + 1});
        if (fresh) sets_.push_back(&found->first);
        return found->second;
    }

    const Mutant& mutant_;
    Position acknowledged_;
    std::vector<Entry> entries_;
    std::map<StateMap, StateKey> keys_;
    std::vector<const StateMap*> sets_;
};

}  // namespace world
