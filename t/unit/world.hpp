// A world for property tests of the log: one true room, and what a homeserver answers each device about it. Rooms have ignored users, state
// resets that no timeline shows, events that come in another order at first, leaves and rejoins; answers come with the state before or
// after. Nothing of the code under test is used to make the truth.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/log/append.hpp"

namespace world {

using matrix_sync::create_name;
using matrix_sync::EventRef;
using matrix_sync::Section;
using matrix_sync::StateMap;
using matrix_sync::StateName;

class Chance {
  public:
    explicit Chance(std::uint64_t seed) : engine_(seed) {}
    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(engine_); }
    bool of(double probability) { return std::uniform_real_distribution<double>(0, 1)(engine_) < probability; }
    template <class T>
    T one_of(const std::vector<T>& from) {
        return from[below(from.size())];
    }

  private:
    std::mt19937_64 engine_;
};

/// The seed of a run: MATRIX_SYNC_SEED, or a new one; printed, so that what failed can be run again.
inline std::uint64_t seed() {
    static const std::uint64_t value = [] {
        const char* given = std::getenv("MATRIX_SYNC_SEED");
        const std::uint64_t chosen = given ? std::strtoull(given, nullptr, 10) : std::random_device{}() & 0xffffff;
        std::printf("MATRIX_SYNC_SEED=%llu\n", static_cast<unsigned long long>(chosen));
        return chosen;
    }();
    return value;
}

/// MATRIX_SYNC_RUNS times what a quick run does.
inline std::uint64_t runs(std::uint64_t quick) {
    const char* factor = std::getenv("MATRIX_SYNC_RUNS");
    return factor ? quick * std::strtoull(factor, nullptr, 10) : quick;
}

struct Options {
    int users = 2;
    int devices = 4;
    int steps = 60;
    bool ignore = false;
    bool reorder = false;
    bool resets = false;
    bool leave = false;
    bool shared_history = true;
    bool state_after = true;
};

/// Positions in the true room count from 1; an event's ref is its position.
struct TrueEvent {
    EventRef ref;
    std::int64_t position = 0;
    double topological = 0;  ///< where the order of a first answer puts it
    std::optional<StateName> name;
    std::string sender;
};

struct Answer {
    std::optional<std::int64_t> since;
    std::int64_t now = 0;
    Section section = Section::join;
    bool limited = false;
    bool full = false;  ///< the block is the whole state
    bool state_after = false;
    std::vector<TrueEvent> timeline;
    StateMap block;  ///< members included
    std::int64_t prev_batch = 0;
};

struct Viewer {
    std::string user;
    std::size_t first_limit = 0;
    std::size_t limit = 0;
    bool lazy = false;
};

inline bool is_member(const StateName& name) {
    return name.type == "m.room.member";
}

inline StateMap without_members(const StateMap& state) {
    StateMap rest;
    for (const auto& [name, ref] : state) {
        if (!is_member(name)) rest.emplace(name, ref);
    }
    return rest;
}

class World {
  public:
    /// An event that no timeline ever shows, made by a state reset at a position.
    static constexpr std::int64_t hidden = 1'000'000;

    World(Chance& chance, const Options& options) : chance_(chance), options_(options), states_(1) {
        for (int i = 0; i < options.users; ++i) users_.push_back("u" + std::to_string(i));
        for (const std::string& user : users_) {
            joined_[user].push_back(false);
            if (options.ignore && chance_.of(.5)) ignored_[user].insert(chance_.one_of<std::string>({"x", "y"}));
        }
        add(create_name(), "x");
        for (const std::string& user : users_) set_member(user, true);
        for (const char* type : {"name", "topic", "pl"}) add(StateName{type, ""}, "x");
    }

    std::int64_t now() const { return static_cast<std::int64_t>(states_.size()) - 1; }
    const std::vector<std::string>& users() const { return users_; }
    const std::vector<TrueEvent>& events() const { return events_; }
    const TrueEvent& event(EventRef ref) const { return events_[index_.at(ref.value)]; }
    const StateMap& state(std::int64_t position) const { return states_[static_cast<std::size_t>(position)]; }

    void grow() {
        for (int n = chance_.one_of<int>({1, 1, 2, 3, 6, 12}); n > 0; --n) grow_once();
    }

    bool sees(const std::string& user, const TrueEvent& event, bool history = false) const {
        if (!event.name && ignores(user, event.sender)) return false;
        return history || in(user, event.position) || event.name == StateName{"m.room.member", user} || in(user, event.position - 1);
    }

    /// None where the homeserver would not list the room.
    std::optional<Answer> poll(const Viewer& viewer, std::optional<std::int64_t> since, std::int64_t now) {
        const std::string& user = viewer.user;
        Answer answer;
        answer.since = since;
        answer.now = now;
        answer.state_after = options_.state_after;
        const bool was = since && in(user, *since);
        bool newly = !since || last_entrance(user, *since, now).has_value();
        std::int64_t end = now;
        if (!in(user, now)) {
            if (!since || (!was && !joins_within(user, *since, now))) return std::nullopt;
            end = last_leave(user, *since, now);
            answer.section = Section::leave;
            newly = !was;
        }
        std::int64_t start = 0;
        StateMap base;
        if (newly) {
            start = first_chunk(answer, viewer, end);
        } else {
            start = next_chunk(answer, viewer, end);
            base = state(*since);
        }
        answer.prev_batch = start;
        const bool from_start = answer.full || answer.limited;
        const StateMap& target = options_.state_after ? state(end) : from_start ? state(start - 1) : base;
        block(answer, viewer, base, target);
        if (answer.timeline.empty() && answer.block.empty() && answer.section == Section::join && !answer.full) return std::nullopt;
        return answer;
    }

  private:
    bool in(const std::string& user, std::int64_t position) const { return joined_.at(user)[static_cast<std::size_t>(position)]; }
    bool ignores(const std::string& user, const std::string& sender) const {
        auto found = ignored_.find(user);
        return found != ignored_.end() && found->second.contains(sender);
    }

    void step(StateMap state) {
        states_.push_back(std::move(state));
        for (const std::string& user : users_) joined_[user].push_back(joined_[user].back());
    }

    void add(std::optional<StateName> name, const std::string& sender) {
        const std::int64_t position = now() + 1;
        TrueEvent event{EventRef{position}, position, static_cast<double>(position), name, sender};
        if (!name && options_.reorder) event.topological += chance_.one_of<double>({0, 0, 0, 1.5, 2.5, -1.5});
        StateMap state = states_.back();
        if (name) state[*name] = event.ref;
        events_.push_back(event);
        index_[position] = events_.size() - 1;
        step(std::move(state));
    }

    void set_member(const std::string& user, bool join) {
        add(StateName{"m.room.member", user}, user);
        joined_[user].back() = join;
        if (join) joins_[user].push_back(now());
    }

    void grow_once() {
        const double what = static_cast<double>(chance_.below(1000)) / 1000;
        if (what < .55) {
            std::vector<std::string> senders = users_;
            senders.insert(senders.end(), {"x", "y", "z"});
            add(std::nullopt, chance_.one_of(senders));
        } else if (what < .8) {
            const auto type = chance_.one_of<std::string>({"name", "topic", "pl", "a", "b"});
            const auto key = chance_.one_of<std::string>({"", "k"});
            add(StateName{type, key}, chance_.one_of<std::string>({"x", "z"}));
        } else if (what < .9 && options_.resets) {
            reset();
        } else if (options_.leave) {
            const std::string user = chance_.one_of(users_);
            set_member(user, !joined_[user].back());
        } else {
            add(StateName{"m.room.member", chance_.one_of<std::string>({"x", "y", "z"})}, "x");
        }
    }

    /// State changes, and no timeline ever says so.
    void reset() {
        StateMap state = states_.back();
        std::vector<StateName> names;
        for (const auto& [name, ref] : state) {
            if (!is_member(name) && name != create_name()) names.push_back(name);
        }
        const StateName name = chance_.one_of(names);
        std::vector<EventRef> old;
        for (const StateMap& earlier : states_) {
            if (auto found = earlier.find(name); found != earlier.end()) old.push_back(found->second);
        }
        const EventRef ref = chance_.of(.6) ? chance_.one_of(old) : EventRef{hidden + now() + 1};
        if ((name.type == "a" || name.type == "b") && chance_.of(.3)) {
            state.erase(name);
        } else {
            state[name] = ref;
        }
        step(std::move(state));
    }

    std::optional<std::int64_t> last_entrance(const std::string& user, std::int64_t after, std::int64_t until) const {
        std::optional<std::int64_t> last;
        for (std::int64_t position : joins_.at(user)) {
            if (position > after && position <= until && !in(user, position - 1)) last = position;
        }
        return last;
    }
    bool joins_within(const std::string& user, std::int64_t after, std::int64_t until) const {
        return std::ranges::any_of(joins_.at(user), [&](std::int64_t position) { return position > after && position <= until; });
    }
    std::int64_t last_leave(const std::string& user, std::int64_t after, std::int64_t until) const {
        std::int64_t last = 0;
        for (const TrueEvent& event : events_) {
            if (event.position > after && event.position <= until && event.name == StateName{"m.room.member", user} &&
                !in(user, event.position)) {
                last = event.position;
            }
        }
        return last;
    }

    /// The chunk of an answer to a user who has just come in; returns where it starts.
    std::int64_t first_chunk(Answer& answer, const Viewer& viewer, std::int64_t end) {
        const std::int64_t entrance = *last_entrance(viewer.user, 0, end);
        std::vector<TrueEvent> chunk;
        for (const TrueEvent& event : events_) {
            if (event.position > end) continue;
            if (options_.shared_history ? sees(viewer.user, event, true) : sees(viewer.user, event) && event.position >= entrance) {
                chunk.push_back(event);
            }
        }
        if (!answer.since) {
            std::ranges::stable_sort(chunk, {}, &TrueEvent::topological);
        }
        const bool cut = keep_last(chunk, answer.since ? viewer.limit : viewer.first_limit);
        answer.limited = cut || answer.since || entrance > 1 + static_cast<std::int64_t>(users_.size());
        answer.full = true;
        double lowest = static_cast<double>(end + 1);
        for (const TrueEvent& event : chunk) lowest = std::min(lowest, event.topological);
        answer.timeline = std::move(chunk);
        return std::min(static_cast<std::int64_t>(std::ceil(lowest)), end + 1);
    }

    std::int64_t next_chunk(Answer& answer, const Viewer& viewer, std::int64_t end) {
        std::vector<TrueEvent> chunk;
        for (const TrueEvent& event : events_) {
            if (event.position > *answer.since && event.position <= end && sees(viewer.user, event)) chunk.push_back(event);
        }
        answer.limited = keep_last(chunk, viewer.limit);
        const std::int64_t start = chunk.empty() ? end + 1 : chunk.front().position;
        answer.timeline = std::move(chunk);
        return start;
    }

    static bool keep_last(std::vector<TrueEvent>& chunk, std::size_t limit) {
        if (chunk.size() <= limit) return false;
        chunk.erase(chunk.begin(), chunk.end() - static_cast<std::ptrdiff_t>(limit));
        return true;
    }

    void block(Answer& answer, const Viewer& viewer, const StateMap& base, const StateMap& target) {
        std::set<std::string> senders;
        for (const TrueEvent& event : answer.timeline) senders.insert(event.sender);
        for (const auto& [name, ref] : target) {
            auto known = base.find(name);
            if (known != base.end() && known->second == ref) continue;
            if (viewer.lazy && is_member(name) && !senders.contains(name.key)) continue;
            answer.block[name] = ref;
        }
        if (!viewer.lazy || answer.timeline.empty() || !chance_.of(.3)) return;
        // A lazy member again though nothing has changed.
        const StateName member{"m.room.member", answer.timeline.front().sender};
        if (auto found = target.find(member); found != target.end()) answer.block[member] = found->second;
    }

    Chance& chance_;
    Options options_;
    std::vector<std::string> users_;
    std::vector<StateMap> states_;  ///< by position
    std::vector<TrueEvent> events_;
    std::map<std::int64_t, std::size_t> index_;
    std::map<std::string, std::vector<bool>> joined_;  ///< by position
    std::map<std::string, std::vector<std::int64_t>> joins_;
    std::map<std::string, std::set<std::string>> ignored_;
};

/// An ordinary classic client: it lays each answer over the state that it had at the answer's `since`.
class ClassicClient {
  public:
    void apply(const Answer& answer) {
        StateMap state = answer.full ? StateMap{} : at_[answer.since.value_or(-1)];
        for (const auto& [name, ref] : without_members(answer.block)) state[name] = ref;
        if (!answer.state_after) {
            for (const TrueEvent& event : answer.timeline) {
                if (event.name && !is_member(*event.name)) state[*event.name] = event.ref;
            }
        }
        at_[answer.now] = now = std::move(state);
    }
    void nothing_new(std::int64_t position) { at_[position] = now; }

    StateMap now;

  private:
    std::map<std::int64_t, StateMap> at_;
};

}  // namespace world
