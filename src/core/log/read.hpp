// What a token reads out of a device's log in one room: the delta between two positions, or the last events.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/classic/answer.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// A run of events of one room with no hole in it, as the device was told of them.
struct Timeline {
    std::vector<EventRef> events;
    std::vector<std::optional<std::string>> transaction_ids;  ///< as many as events
    /// Something may be missing before the first one.
    bool limited = false;
    /// Going back from here meets every event before the first one; it may repeat those shown. It never leads over a hole.
    std::optional<std::string> prev_batch;
};

struct Delta {
    Timeline timeline;
    /// The room was joined after having been something else: what was known of it before does not count.
    bool initial = false;
};

/// Which events a client wants to see; empty: all.
using Shown = std::function<bool(EventRef)>;

/// Entries of one room in (from, to], oldest first; `before` is the section of the newest entry up to `from`, if there is one. Begins at
/// the last gap; with more than `most` events, the newest.
Delta read_delta(std::span<const Entry> entries, std::optional<Section> before, std::size_t most = std::numeric_limits<std::size_t>::max(),
                 const Shown& shown = {});

/// The last `most` events, of entries newest first; they need to go no further back than reaches_back() asks for.
Timeline read_last(std::span<const Entry> newest_first, std::size_t most, const Shown& shown = {});
/// Whether entries, newest first, hold all that read_last() looks at.
bool reaches_back(std::span<const Entry> newest_first, std::size_t most, const Shown& shown = {});

}  // namespace matrix_sync
