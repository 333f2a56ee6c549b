#include "core/streams/member_deltas.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <span>

#include "core/classic/answer.hpp"
#include "core/json/writer.hpp"
#include "core/streams/event_json.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

constexpr std::size_t kEventsAtOnce = 500;

using Events = std::map<EventRef, RoomCache::EventPtr>;

/// What the user sees of an entry.
struct Seen {
    const Entry* entry;
    bool begins;  ///< the user comes in
    bool leaves;
};

/// `joined`: as of the cursor.
std::vector<Seen> seen_of(const std::vector<Entry>& entries, bool joined) {
    std::vector<Seen> seen;
    for (const Entry& entry : entries) {
        const bool joins = entry.section == Section::join;
        const bool leaves = joined && entry.section == Section::leave;
        if (joins || leaves) seen.push_back({&entry, joins && !joined, leaves});
        joined = joins;
    }
    return seen;
}

bool is_member(const StoredEvent& event) {
    return event.type == "m.room.member" && event.state_key;
}

class Delta {
  public:
    Delta(const UserId& user, Cursor cursor, std::size_t most) : user_(user), from_(cursor), most_(most) { json_.array(); }

    /// False when there is no room for all of the entry: cut() says where.
    bool add(const Seen& seen, const Events& events) {
        const Entry& entry = *seen.entry;
        const std::size_t begin = begin_of(entry);
        if (begin == 0 && (entry.limited || (entry.gap && !seen.begins))) limited_ = true;
        const std::size_t end = end_of(seen, events);
        for (std::size_t i = begin; i < end; ++i) {
            auto found = events.find(entry.events[i]);
            if (found == events.end() || !is_member(*found->second)) continue;
            if (shown_ == most_ || json_.size() >= kMostBytes) {
                cut_ = Cursor{Position{entry.seq.value - 1}, static_cast<std::int32_t>(i), false};
                return false;
            }
            write(found->second->body, entry, i);
        }
        return true;
    }

    const std::optional<Cursor>& cut() const { return cut_; }

    /// Empty when there is nothing to say.
    std::string take() {
        if (shown_ == 0 && !limited_) return {};
        json_.end_array();
        JsonWriter json;
        json.object().key("events").raw(json_.take());
        if (limited_) json.key("limited").boolean(true);
        json.end_object();
        return json.take();
    }

  private:
    /// Positions are never given out twice, so that this is the entry that was cut.
    std::size_t begin_of(const Entry& entry) const {
        const bool cut_before = from_.within > 0 && entry.seq.value == from_.at.value + 1;
        return cut_before ? static_cast<std::size_t>(from_.within) : 0;
    }

    /// Nothing is seen of what comes behind one's own leave.
    std::size_t end_of(const Seen& seen, const Events& events) const {
        const std::vector<EventRef>& refs = seen.entry->events;
        for (std::size_t i = refs.size(); seen.leaves && i-- > 0;) {
            auto found = events.find(refs[i]);
            if (found != events.end() && is_member(*found->second) && found->second->state_key == user_.value) return i + 1;
        }
        return refs.size();
    }

    void write(const std::string& body, const Entry& entry, std::size_t index) {
        const bool own = index < entry.transaction_ids.size() && entry.transaction_ids[index];
        if (own) {
            json_.raw(with_transaction_id(body, *entry.transaction_ids[index]));
        } else {
            json_.raw(body);
        }
        ++shown_;
    }

    const UserId& user_;
    Cursor from_;
    std::size_t most_;
    JsonWriter json_;
    std::size_t shown_ = 0;
    bool limited_ = false;
    std::optional<Cursor> cut_;
};

/// The events of some entries from the front, as many as are looked up together.
std::vector<EventRef> refs_of(std::span<const Seen>& group) {
    std::vector<EventRef> refs;
    std::size_t entries = 0;
    while (entries < group.size() && refs.size() < kEventsAtOnce) {
        const Entry& entry = *group[entries++].entry;
        if (entry.members) refs.insert(refs.end(), entry.events.begin(), entry.events.end());
    }
    group = group.first(entries);
    return refs;
}

Task<bool> joined_at(Reading& reading, const RoomRow& row, Position position) {
    if (row.section == Section::join && row.entered <= position) co_return true;
    std::optional<Entry> entry = co_await reading.store.newest(reading.device.key, row.key, position);
    co_return entry && entry->section == Section::join;
}

}  // namespace

Task<Cursor> read_member_delta(Reading& reading, RoomRow row, Cursor cursor, std::size_t most, std::string& out) {
    const Position to = std::max({reading.device.end(), row.seq, cursor.at});
    if (row.members <= cursor.at) co_return Cursor{to, 0, cursor.paged};
    const bool joined = co_await joined_at(reading, row, cursor.at);
    const std::vector<Entry> entries = co_await reading.device.read_entries(row.key, cursor.at, to);
    const std::vector<Seen> seen = seen_of(entries, joined);

    Delta delta(reading.device.user, cursor, most);
    std::span<const Seen> rest(seen);
    while (!rest.empty() && !delta.cut()) {
        std::span<const Seen> group = rest;
        std::vector<EventRef> refs = refs_of(group);
        const Events events = co_await reading.device.read_events(std::move(refs));
        for (const Seen& one : group) {
            if (!delta.add(one, events)) break;
        }
        rest = rest.subspan(group.size());
    }
    out += delta.take();
    co_return delta.cut().value_or(Cursor{to});
}

}  // namespace matrix_sync
