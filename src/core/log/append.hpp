// What one answer of the homeserver adds to a device's log for one room. Pure: events are known by their refs, state sets by their keys;
// where they come from and where the entry goes is the storage's business.
//
// What holds of a device's entries of one room, oldest first:
// - The first has a gap, and so has each that enters the room or is invited to it.
// - From one gap to the next, events are what the homeserver told this device, in its order, none left out and none twice.
// - prev_batch leads to what came before the entry's first event, or is not there.
// - A state that an entry has holds m.room.create, and an entry of a joined room has a state.
// - Entries never change: what a token reads is the same for ever.
//
// The order is: place() the timeline, find the ground() of the state and lay the part over it, then make the entry().
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/classic/answer.hpp"
#include "core/log/state.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// An event as a part of an answer lists it. Only state events that belong into a state set have a name.
struct ListedEvent {
    EventRef ref;
    std::optional<StateName> name;
    bool member = false;
    bool redaction = false;  ///< or it comes redacted
};

/// One room of one answer.
struct ListedPart {
    Section section = Section::join;
    bool first = false;  ///< the answer is the whole truth: it was asked for without `since`
    std::vector<ListedEvent> timeline;
    std::vector<std::optional<std::string>> transaction_ids;  ///< as many as timeline, or none at all
    bool limited = false;
    std::optional<std::string> prev_batch;
    std::vector<ListedEvent> block;
    bool block_is_after = false;  ///< the block is the state after the timeline, not before it
    std::optional<std::vector<std::string>> typing;
    std::string next_batch;
};

/// The end of a device's log in one room.
struct KnownEntries {
    std::optional<Entry> base;  ///< the newest that the stored `since` acknowledges
    /// Those after it, oldest first: their poll was cut off before its end and has been repeated. Normally none.
    std::vector<Entry> replay;

    const Entry* live() const { return !replay.empty() ? &replay.back() : base ? &*base : nullptr; }
};

/// What of a chunk of timeline is new to the device.
struct Placed {
    std::size_t begin = 0;  ///< index in the chunk
    bool gap = false;
    /// Leads to what came before `begin`: none where a part of the chunk is left out, because the homeserver gave none for that place.
    std::optional<std::string> prev_batch;
};
Placed place(const KnownEntries& known, const ListedPart& part);

/// What the state after a part is computed from.
enum class Ground {
    same,     ///< it is base's state: nothing is said about state
    base,     ///< base's state, never live's: a repeated answer speaks of what was before `since`
    nothing,  ///< the part says all that is to know
};
Ground ground(const KnownEntries& known, const ListedPart& part);
/// Lays the part over its ground. A joined room whose result has no m.room.create cannot be shown: rule 11.
StateMap state_after(StateMap state, const ListedPart& part);

/// The entry to append, without numbers and room; none when the part says nothing that the log does not say already.
std::optional<Entry> make_entry(const KnownEntries& known, const ListedPart& part, const Placed& placed, StateKey state);

/// The entry that ends a room which an answer to a poll without `since` does not list. What came in between is not known: a gap.
Entry omitted_entry(const Entry& live, const std::string& next_batch);

}  // namespace matrix_sync
