// From parts to entries. A room has mostly one step, so there is mostly one round: the states of all rooms are looked up together.
#include <algorithm>

#include "storage/ingest.hpp"

namespace matrix_sync {
namespace {

const Statement get_heads{"ingest_get_heads", R"sql(
    SELECT id, heads FROM room_state WHERE id = ANY ($1::bigint[])
)sql"};

/// The next part of the same room is of a later answer: all that is known now is what came before it.
void go_on_from(KnownEntries& known, const std::optional<Entry>& entry) {
    if (entry) {
        known.base = *entry;
    } else if (known.live()) {
        known.base = Entry(*known.live());
    }
    known.replay.clear();
}

}  // namespace

bool begins_anew(const RoomPart& part, bool first) {
    return first || part.section != Section::join || creation_of(part);
}

Task<void> Ingestion::append_rooms() {
    std::map<StateKey, LoadedState> loaded;
    for (;;) {
        std::vector<NextState> round;
        for (RoomWork& work : works_) {
            if (!live(work.delivery) || stray(work)) continue;
            if (auto next = next_state(work)) round.push_back(std::move(*next));
        }
        if (round.empty()) co_return;
        co_await find_states(round, loaded);
        for (NextState& next : round) append(next);
    }
}

/// None when the room is done with, or has failed.
std::optional<Ingestion::NextState> Ingestion::next_state(RoomWork& work) {
    while (work.failure.empty() && work.next < work.steps.size()) {
        const Step& step = work.steps[work.next];
        if (!step.part->broken.empty()) {
            fail(work, step.part->broken);
            continue;
        }
        if (work.lacks_state && work.next == 0 && !begins_anew(*step.part, step.first)) {
            fail(work, "too many of its parts were set aside to keep them all", true);
            continue;
        }
        auto part = listed(work, step);
        if (!part) {
            fail(work, "it lists an event of another room");
            continue;
        }
        NextState next;
        next.work = &work;
        next.part = std::move(*part);
        next.ground = ground(work.known, next.part);
        return next;
    }
    return std::nullopt;
}

/// A part of a room that was left ends with the user's own leave: what a homeserver sends behind it is not for this user (rule 32).
std::size_t shown_length(const RoomPart& part, const std::string& user) {
    if (part.section != Section::leave) return part.timeline.size();
    auto own = std::find_if(part.timeline.rbegin(), part.timeline.rend(), [&](const Event& event) {
        return event.is_state("m.room.member", user) && (event.membership == "leave" || event.membership == "ban");
    });
    return own == part.timeline.rend() ? part.timeline.size() : static_cast<std::size_t>(part.timeline.rend() - own);
}

std::optional<ListedPart> Ingestion::listed(const RoomWork& work, const Step& step) {
    const RoomPart& part = *step.part;
    ListedPart listed;
    listed.section = part.section;
    listed.first = step.first;
    listed.limited = part.limited;
    listed.prev_batch = part.prev_batch;
    listed.block_is_after = part.state_is_after;
    listed.typing = part.typing;
    listed.next_batch = step.next_batch;
    auto listed_event = [this](EventRef ref, const Event& event) {
        const bool redacts = event.type == "m.room.redaction" || come_redacted_.contains(event.event_id.value);
        return ListedEvent{ref, state_name(event.type, event.state_key), event.is_member(), redacts};
    };
    for (const Event& event : part.state) {
        if (!event.state_key) continue;
        const KnownEvent& stored = events_.at(event.event_id.value);
        if (stored.room != work.key) return std::nullopt;
        listed.block.push_back(listed_event(stored.ref, event));
    }
    bool own = false;
    const std::size_t length = shown_length(part, end_of(work.delivery).user);
    for (const Event& event : std::span(part.timeline).first(length)) {
        const KnownEvent& stored = events_.at(event.event_id.value);
        if (stored.room != work.key) return std::nullopt;
        listed.timeline.push_back(listed_event(stored.ref, event));
        listed.transaction_ids.push_back(event.transaction_id);
        own = own || event.transaction_id;
    }
    if (!own) listed.transaction_ids.clear();
    return listed;
}

/// Fills in the keys; rooms without m.room.create fail.
Task<void> Ingestion::find_states(std::vector<NextState>& round, std::map<StateKey, LoadedState>& loaded) {
    std::vector<StateKey> wanted;
    for (const NextState& next : round) {
        if (next.ground == Ground::base && !loaded.contains(next.work->known.base->state)) wanted.push_back(next.work->known.base->state);
    }
    loaded.merge(co_await load_states(sending_.transaction(), std::move(wanted)));

    std::vector<std::int64_t> headless;
    std::vector<NewState> states;
    std::vector<NextState*> asking;
    for (NextState& next : round) {
        if (next.ground == Ground::same) {
            next.key = next.work->known.base->state;
            if (next.work->row && next.work->row->state == next.key) {
                heads_[next.key] = next.work->row->heads;
            } else if (next.key && !heads_.contains(next.key)) {
                headless.push_back(next.key.value);
            }
            continue;
        }
        NewState state;
        StateMap from;
        if (next.ground == Ground::base) {
            const LoadedState& base = loaded[next.work->known.base->state];
            from = base.state;
            if (base.root.key) state.root = &base.root;
        }
        state.state = state_after(std::move(from), next.part);
        if (!state.state.contains(create_name())) {
            if (next.part.section == Section::join) fail(*next.work, "nothing says how the room was made (no m.room.create)", true);
            continue;
        }
        state.room = next.work->key;
        states.push_back(std::move(state));
        asking.push_back(&next);
    }
    co_await find_heads(std::move(headless));
    std::vector<StateHeads> heads;
    for (const NewState& state : states) heads.push_back(heads_of(state.state));
    std::vector<StateKey> keys = co_await intern_states(sending_, std::move(states));
    for (std::size_t i = 0; i < keys.size(); ++i) {
        asking[i]->key = keys[i];
        heads_[keys[i]] = heads[i];
    }
    std::erase_if(round, [](const NextState& next) { return next.part.section == Section::join && !next.key; });
}

/// Of states that a repeated answer goes back to.
Task<void> Ingestion::find_heads(std::vector<std::int64_t> states) {
    if (states.empty()) co_return;
    Params params;
    params.bigints(states);
    Query query = sending_.ask(get_heads, std::move(params));
    Rows rows = co_await query;
    for (std::size_t row = 0; row < rows.size(); ++row) heads_[StateKey{rows.bigint(row, 0)}] = read_heads(rows.bigints(row, 1));
}

void Ingestion::append(NextState& next) {
    RoomWork& work = *next.work;
    Placed placed = place(work.known, next.part);
    if (work.begins_with_gap && work.next == 0) placed.gap = true;
    auto entry = make_entry(work.known, next.part, placed, next.key);
    if (entry) {
        entry->room_key = work.key;
        entry->room = work.room;
        work.entries.push_back(*entry);
    }
    go_on_from(work.known, entry);
    ++work.next;
}

/// If it is one of the parts set aside that still cannot be processed, and the new ones can do without it, they begin with a gap.
void Ingestion::fail(RoomWork& work, std::string why, bool without_state) {
    auto fresh = std::ranges::find(work.steps, false, &Step::aside);
    const bool old = work.next < static_cast<std::size_t>(fresh - work.steps.begin());
    if (old && fresh != work.steps.end() && begins_anew(*fresh->part, fresh->first)) {
        work.steps.erase(work.steps.begin(), fresh);
        work.known = work.known_at_first;
        work.entries.clear();
        work.next = 0;
        work.begins_with_gap = true;
        return;
    }
    work.failure = std::move(why);
    work.without_state = without_state;
}

}  // namespace matrix_sync
