// A world for property tests of member lists: the true members of one room, devices that poll it, and whole lists that are fetched, all of
// it late and in any order. Whoever keeps the list is given; the world says whether it is stale where it claims to be complete.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/rooms/member_fact.hpp"
#include "world.hpp"

namespace member_world {

using matrix_sync::EventId;
using matrix_sync::EventRef;
using matrix_sync::MemberFact;
using matrix_sync::Microseconds;
using matrix_sync::Said;
using matrix_sync::UserId;
using world::Chance;

class ListKeeper {
  public:
    virtual ~ListKeeper() = default;
    virtual void tell(const std::vector<MemberFact>& facts, std::optional<Microseconds> gap) = 0;
    virtual void end_fetch(const std::vector<std::string>& listed, Microseconds asked) = 0;
    virtual bool complete() = 0;
    virtual std::map<std::string, EventRef> rows() = 0;
};

struct Tally {
    std::uint64_t looks = 0;  ///< at a list that claims to be complete
    std::uint64_t stale = 0;  ///< of those: with a row that some device knows to be old
};

class Trial {
  public:
    Trial(std::uint64_t seed, ListKeeper& list) : chance_(seed), list_(list) {
        const std::vector<std::size_t> limits{1, 2, 5, 50};
        for (std::size_t i = chance_.one_of<std::size_t>({2, 3, 5}); i > 0; --i) devices_.push_back({{}, {}, chance_.one_of(limits)});
        // The last user comes in later, or never.
        for (std::size_t user = 0; user + 1 < kUsers; ++user) histories_[name(user)].push_back({0, name(user), ref(user, 0)});
    }

    Tally run(int steps = 120) {
        for (int step = 0; step < steps; ++step) {
            ++clock_;
            const double what = static_cast<double>(chance_.below(1000)) / 1000;
            if (what < .35) {
                grow();
            } else if (what < .88) {
                poll(devices_[chance_.below(devices_.size())]);
            } else {
                fetch();
            }
            look();
        }
        return tally_;
    }

  private:
    static constexpr std::size_t kUsers = 5;

    struct Happened {
        std::int64_t position = 0;
        std::string user;  ///< empty: no member event
        EventRef ref;
    };
    struct Answer {
        Microseconds asked = 0;
        std::optional<Microseconds> answered;
        std::int64_t position = 0;      ///< the room as it was when the answer was made
        std::vector<std::string> left;  ///< a fetch: users still to be stored
    };
    struct Device {
        std::optional<std::int64_t> since;
        std::optional<Answer> flying;
        std::size_t limit = 0;
    };

    static std::string name(std::size_t user) { return "@x" + std::to_string(user) + ":world"; }
    static EventRef ref(std::size_t user, std::int64_t position) {
        return EventRef{position * static_cast<std::int64_t>(kUsers) + static_cast<std::int64_t>(user) + 1};
    }

    void grow() {
        for (std::size_t i = chance_.one_of<std::size_t>({1, 1, 2, 5}); i > 0; --i) {
            ++position_;
            Happened happened{position_, {}, {}};
            if (chance_.of(.4)) {
                const std::size_t user = chance_.below(kUsers);
                happened.user = name(user);
                happened.ref = ref(user, position_);
                histories_[happened.user].push_back(happened);
            }
            timeline_.push_back(happened);
        }
    }

    /// The user's newest event at a position, and the one before it.
    std::pair<EventRef, EventRef> at(const std::string& user, std::int64_t position) const {
        std::pair<EventRef, EventRef> found;
        auto history = histories_.find(user);
        if (history == histories_.end()) return found;
        for (const Happened& happened : history->second) {
            if (happened.position <= position) found = {happened.ref, found.first};
        }
        return found;
    }

    std::optional<MemberFact> fact_at(const std::string& user, std::int64_t position, Said said) {
        auto [now, before] = at(user, position);
        if (!now) return std::nullopt;
        MemberFact fact;
        fact.member.user = UserId{user};
        fact.member.ref = now;
        fact.member.sort_name = user;
        fact.event_id = EventId{"$" + std::to_string(now.value)};
        fact.said = said;
        if (before && chance_.of(.3)) fact.replaces = EventId{"$" + std::to_string(before.value)};
        return fact;
    }

    void poll(Device& device) {
        if (!device.flying) {
            device.flying = Answer{clock_, {}, 0, {}};
        } else if (!device.flying->answered) {
            device.flying->position = position_;
            device.flying->answered = clock_;
        } else if (chance_.of(.6)) {
            const Answer answer = *std::exchange(device.flying, std::nullopt);
            store(device, answer);
        }
    }

    void store(Device& device, const Answer& answer) {
        std::vector<Happened> chunk;
        for (const Happened& happened : timeline_) {
            if ((!device.since || happened.position > *device.since) && happened.position <= answer.position) chunk.push_back(happened);
        }
        const bool limited = !device.since || chunk.size() > device.limit;
        if (chunk.size() > device.limit) chunk.erase(chunk.begin(), chunk.end() - static_cast<std::ptrdiff_t>(device.limit));

        const Said said{answer.asked, *answer.answered};
        std::map<std::string, std::vector<EventRef>> shown;
        for (const Happened& happened : chunk) {
            if (!happened.user.empty()) shown[happened.user].push_back(happened.ref);
        }
        std::vector<MemberFact> facts;
        for (auto& [user, refs] : shown) {
            refs.pop_back();
            facts.push_back(*fact_at(user, answer.position, said));
            facts.back().before = refs;
        }
        // A member loaded lazily; or what somebody who has left was last told, whenever that was.
        const std::string user = name(chance_.below(kUsers));
        if (!shown.contains(user)) {
            std::optional<MemberFact> fact;
            const double what = static_cast<double>(chance_.below(100)) / 100;
            if (what < .5) fact = fact_at(user, answer.position, said);
            if (what > .95)
                fact = fact_at(user, static_cast<std::int64_t>(chance_.below(static_cast<std::size_t>(answer.position) + 1)),
                               {0, *answer.answered});
            if (fact) facts.push_back(std::move(*fact));
        }
        list_.tell(facts, limited ? std::optional(*answer.answered) : std::nullopt);
        device.since = answer.position;
    }

    void fetch() {
        if (!fetch_) {
            fetch_ = Answer{clock_, {}, 0, {}};
        } else if (!fetch_->answered) {
            fetch_->position = position_;
            fetch_->answered = clock_;
            for (std::size_t user = 0; user < kUsers; ++user) fetch_->left.push_back(name(user));
        } else {
            store_fetched();
        }
    }

    /// Some users at a time, with polls between.
    void store_fetched() {
        std::vector<MemberFact> facts;
        for (std::size_t i = chance_.one_of<std::size_t>({1, 3, 5}); i > 0 && !fetch_->left.empty(); --i) {
            auto fact = fact_at(fetch_->left.back(), fetch_->position, {fetch_->asked, *fetch_->answered});
            if (fact) facts.push_back(std::move(*fact));
            fetch_->left.pop_back();
        }
        list_.tell(facts, std::nullopt);
        if (!fetch_->left.empty()) return;
        std::vector<std::string> listed;
        for (std::size_t user = 0; user < kUsers; ++user) {
            if (at(name(user), fetch_->position).first) listed.push_back(name(user));
        }
        list_.end_fetch(listed, fetch_->asked);
        fetch_.reset();
    }

    void look() {
        if (!list_.complete()) return;
        ++tally_.looks;
        const auto rows = list_.rows();
        for (const Device& device : devices_) {
            if (!device.since) continue;
            for (const auto& [user, history] : histories_) {
                auto row = rows.find(user);
                const EventRef least = at(user, *device.since).first;
                const bool stale = least && (row == rows.end() || row->second.value < least.value);
                if (!stale) continue;
                ++tally_.stale;
                return;
            }
        }
    }

    Chance chance_;
    ListKeeper& list_;
    std::vector<Device> devices_;
    std::map<std::string, std::vector<Happened>> histories_;
    std::vector<Happened> timeline_;
    std::optional<Answer> fetch_;
    std::int64_t position_ = 0;
    Microseconds clock_ = 1'000'000;
    Tally tally_;
};

}  // namespace member_world
