#include "core/streams/timeline.hpp"

#include <algorithm>

#include "core/json/writer.hpp"
#include "core/log/read.hpp"
#include "core/streams/event_json.hpp"
#include "core/streams/state_json.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr int kEntriesAtOnce = 32;
/// Each is tried for each event.
constexpr std::size_t kMostPatterns = 200;
/// A filter that shows next to nothing must not read a whole room.
constexpr std::size_t kMostEntries = 1024;

/// `*` stands for any text.
bool matches(std::string_view pattern, std::string_view text) {
    std::size_t at = 0, in_text = 0, star = pattern.npos, behind_star = 0;
    while (in_text < text.size()) {
        if (at < pattern.size() && pattern[at] == '*') {
            star = at++;
            behind_star = in_text;
        } else if (at < pattern.size() && pattern[at] == text[in_text]) {
            ++at;
            ++in_text;
        } else if (star != pattern.npos) {
            at = star + 1;
            in_text = ++behind_star;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', at) == pattern.npos;
}

bool any_matches(const std::vector<std::string>& patterns, const std::string& type) {
    return std::ranges::any_of(patterns, [&](const std::string& pattern) { return matches(pattern, type); });
}

/// The events that entries point to, and which of them are shown to this user.
struct Known {
    std::map<EventRef, RoomCache::EventPtr> events;
    std::shared_ptr<const std::set<std::string>> ignored;
    const TimelineFilter* filter = nullptr;

    bool shows(EventRef ref) const {
        auto found = events.find(ref);
        if (found == events.end()) return false;
        const StoredEvent& event = *found->second;
        return (event.state_key || !ignored->contains(event.sender.value)) && filter->shows(event.type);
    }
};

/// Gives those that are gone.
Task<std::set<EventRef>> learn(Reading& reading, Known& known, const std::vector<Entry>& entries) {
    std::vector<EventRef> refs;
    for (const Entry& entry : entries) {
        for (EventRef ref : entry.events) {
            if (!known.events.contains(ref)) refs.push_back(ref);
        }
    }
    std::set<EventRef> gone;
    if (refs.empty()) co_return gone;
    gone.insert(refs.begin(), refs.end());
    known.events.merge(co_await reading.device.read_events(std::move(refs)));
    std::erase_if(gone, [&](EventRef ref) { return known.events.contains(ref); });
    co_return gone;
}

/// Rather no answer than one that lacks an event: the entries are of a log that this worker has not followed for very long.
Task<void> learn_all(Reading& reading, Known& known, const std::vector<Entry>& entries) {
    const std::set<EventRef> gone = co_await learn(reading, known, entries);
    if (!gone.empty()) throw StatementFailed("02000", "event " + std::to_string(gone.begin()->value) + " is gone");
}

bool has_any(const std::vector<Entry>& entries, const std::set<EventRef>& refs) {
    return std::ranges::any_of(
        entries, [&](const Entry& entry) { return std::ranges::any_of(entry.events, [&](EventRef ref) { return refs.contains(ref); }); });
}

ShownTimeline show(const Known& known, const Timeline& timeline) {
    ShownTimeline shown;
    shown.limited = timeline.limited;
    shown.prev_batch = timeline.prev_batch;
    for (std::size_t i = 0; i < timeline.events.size(); ++i) {
        const StoredEvent& event = *known.events.at(timeline.events[i]);
        const auto& transaction_id = timeline.transaction_ids[i];
        shown.events.push_back(transaction_id ? with_transaction_id(event.body, *transaction_id) : event.body);
        shown.senders.insert(event.sender.value);
    }
    return shown;
}

/// Any later classic token leads back over everything, too.
Task<void> find_prev_batch(Reading& reading, ShownTimeline& shown) {
    if (!shown.prev_batch) shown.prev_batch = co_await reading.store.classic_since(reading.device.key);
}

}  // namespace

TimelineFilter::TimelineFilter(const Fields& fields)
    : types_(fields.strings("types", kMostPatterns)),
      not_types_(fields.strings("not_types", kMostPatterns).value_or(std::vector<std::string>{})) {}

bool TimelineFilter::shows(const std::string& type) const {
    return (!types_ || any_matches(*types_, type)) && !any_matches(not_types_, type);
}

void TimelineFilter::write(Json& params) const {
    if (types_) params["types"] = *types_;
    if (!not_types_.empty()) params["not_types"] = not_types_;
}

std::string ShownTimeline::json() const {
    JsonWriter json;
    json.object().key("events").array();
    for (const std::string& event : events) json.raw(event);
    json.end_array().key("limited").boolean(limited);
    if (prev_batch) json.key("prev_batch").string(*prev_batch);
    json.end_object();
    return json.take();
}

Task<std::vector<ShownTimeline>> last_timelines(Reading& reading, std::vector<RoomRow> rows, Position to, TimelineFilter filter,
                                                int limit) {
    std::vector<ShownTimeline> timelines;
    Known known;
    known.filter = &filter;
    known.ignored = co_await reading.device.ignored_users();
    const Shown shown = [&known](EventRef ref) { return known.shows(ref); };
    const auto most = static_cast<std::size_t>(limit);

    std::set<RoomKey> rooms;
    for (const RoomRow& row : rows) rooms.insert(row.key);
    std::map<RoomKey, std::vector<Entry>> by_room;
    std::vector<Entry> kept = reading.device.kept_entries(rooms, to, most);
    const std::set<EventRef> gone = co_await learn(reading, known, kept);
    for (Entry& entry : kept) by_room[entry.room_key].push_back(std::move(entry));
    std::vector<RoomKey> further_back;
    for (RoomKey room : rooms) {
        if (reaches_back(by_room[room], most, shown) && !has_any(by_room[room], gone)) continue;
        by_room[room].clear();
        further_back.push_back(room);
    }
    const int at_once = std::min(limit + 1, kEntriesAtOnce);
    if (!further_back.empty()) {
        const std::vector<RoomKey> read = further_back;
        std::vector<Entry> first = co_await reading.store.last(reading.device.key, std::move(further_back), to, at_once);
        co_await learn_all(reading, known, first);
        for (Entry& entry : first) by_room[entry.room_key].push_back(std::move(entry));
        for (RoomKey room : read) reading.device.keep_entries(room, by_room[room], to);
    }

    for (const RoomRow& row : rows) {
        std::vector<Entry>& entries = by_room[row.key];
        bool more = entries.size() == static_cast<std::size_t>(at_once);
        while (more && !reaches_back(entries, most, shown) && entries.size() < kMostEntries) {
            Position before{entries.back().seq.value - 1};
            std::vector<RoomKey> room = {row.key};
            std::vector<Entry> older = co_await reading.store.last(reading.device.key, std::move(room), before, kEntriesAtOnce);
            more = older.size() == static_cast<std::size_t>(kEntriesAtOnce);
            co_await learn_all(reading, known, older);
            std::ranges::move(older, std::back_inserter(entries));
        }
        Timeline timeline = read_last(entries, most, shown);
        ShownTimeline made = show(known, timeline);
        co_await find_prev_batch(reading, made);
        timelines.push_back(std::move(made));
    }
    co_return timelines;
}

Task<ShownTimeline> delta_timeline(Reading& reading, std::vector<Entry> entries, TimelineFilter filter, int limit) {
    Known known;
    known.filter = &filter;
    known.ignored = co_await reading.device.ignored_users();
    co_await learn_all(reading, known, entries);
    const Shown shown = [&known](EventRef ref) { return known.shows(ref); };
    Delta delta = read_delta(entries, std::nullopt, static_cast<std::size_t>(limit), shown);
    ShownTimeline made = show(known, delta.timeline);
    co_await find_prev_batch(reading, made);
    co_return made;
}

}  // namespace matrix_sync
