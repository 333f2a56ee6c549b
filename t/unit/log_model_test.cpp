// The device log's algorithm as a property test: random worlds, many devices, late, lost and repeated polls; and mutants of the algorithm,
// each of which must be caught, so that the invariants are known to hold something.
#include "log_model.hpp"
#include "suite.hpp"

using namespace matrix_sync;
using namespace world;

namespace {

struct Device {
    Viewer viewer;
    std::optional<std::int64_t> since;
    std::optional<std::pair<std::optional<Answer>, std::int64_t>> flying;  ///< an answer under way, and when it was made
    bool repeated = false;                                                 ///< the last answer was ingested, but not acknowledged
    bool inside = false;
    std::int64_t newest = 0;  ///< position of the newest event that an answer brought
    ClassicClient oracle;
    std::set<EventRef> given;
    std::vector<EventRef> shown;
    Position token;
    struct Seen {
        Position from, to;
        Delta delta;
        StateMap state;
    };
    std::vector<Seen> seen;
};

using Violations = std::set<std::string>;

struct Tally {
    std::uint64_t polls = 0, lost = 0, replays = 0, resets_seen = 0;
};

std::vector<EventRef> refs_of(const std::vector<TrueEvent>& events) {
    std::vector<EventRef> refs;
    for (const TrueEvent& event : events) refs.push_back(event.ref);
    return refs;
}

bool contains(const std::vector<EventRef>& refs, EventRef ref) {
    return std::ranges::find(refs, ref) != refs.end();
}

class Trial {
  public:
    Trial(std::uint64_t seed, const Options& options, const Mutant& mutant, Tally& tally)
        : chance_(seed), options_(options), world_(chance_, options), tally_(tally) {
        for (int i = 0; i < options.devices; ++i) {
            Device device;
            device.viewer = {chance_.one_of(world_.users()), chance_.one_of<std::size_t>({1, 3, 5, 20}),
                             chance_.one_of<std::size_t>({1, 2, 4, 8, 50}), chance_.of(.6)};
            devices_.push_back(std::move(device));
            logs_.emplace_back(mutant);
        }
    }

    Violations run() {
        for (int step = 0; step < options_.steps; ++step) {
            if (chance_.of(.3)) {
                world_.grow();
            } else {
                const std::size_t which = chance_.below(devices_.size());
                poll(devices_[which], logs_[which]);
            }
        }
        for (std::size_t i = 0; i < devices_.size(); ++i) read_again(devices_[i], logs_[i]);
        return violations_;
    }

  private:
    void expect(bool holds, const char* what) {
        if (!holds) violations_.insert(what);
    }

    void poll(Device& device, Log& log) {
        if (!device.flying) {
            if (device.since == world_.now() && !device.repeated) return;
            if (device.since && chance_.of(.03)) {
                device.since.reset();
                device.repeated = true;
            }
            device.flying.emplace(world_.poll(device.viewer, device.since, world_.now()), world_.now());
            return;
        }
        if (!chance_.of(.5)) return;
        auto [answer, made] = *std::exchange(device.flying, std::nullopt);
        if (chance_.of(.1)) return;  // the worker crashed before the commit
        const bool stray = answer && answer->section == Section::leave && log.empty();
        if (stray) {
            log.ingest(*answer);
            expect(log.empty(), "a stray leave made a room");
        }
        if (!answer || stray) {
            if (!device.since || device.repeated) return;
            device.since = made;
            log.acknowledge();
            device.oracle.nothing_new(made);
            return;
        }
        ingest(device, log, *answer, chance_.of(.8));
    }

    /// The device's client reads up to the end.
    Delta read(Device& device, const Log& log) {
        Delta delta = log.read(device.token, log.end());
        for (EventRef ref : delta.timeline.events) expect(device.given.contains(ref), "a: an event that no poll of this device brought");
        device.seen.push_back({device.token, log.end(), delta, log.state(log.end())});
        device.token = log.end();
        return delta;
    }

    void ingest(Device& device, Log& log, const Answer& answer, bool acknowledged) {
        ++tally_.polls;
        read(device, log);
        log.ingest(answer);
        for (const TrueEvent& event : answer.timeline) device.given.insert(event.ref);
        Delta delta = read(device, log);
        if (device.repeated) {
            check_repeated(device, answer, delta);
        } else {
            expect(delta.timeline.events == refs_of(answer.timeline), "a: a poll reads back otherwise");
            expect(delta.timeline.limited == (answer.limited || !answer.since || !device.inside), "a: limited is not what the poll said");
            expect(delta.initial == (answer.section == Section::join && !device.inside), "a: initial");
        }
        check_contiguous(device, answer, delta);

        for (const TrueEvent& event : answer.timeline) device.newest = std::max(device.newest, event.position);
        device.shown.insert(device.shown.end(), delta.timeline.events.begin(), delta.timeline.events.end());
        device.inside = answer.section == Section::join;
        device.oracle.apply(answer);
        check_state(device, log, answer);
        check_last(device, log);
        if (answer.since && chance_.of(.15)) replay(device, log, answer);

        if (acknowledged) {
            log.acknowledge();
            device.since = answer.now;
        } else {
            ++tally_.lost;
        }
        device.repeated = !acknowledged;
    }

    void check_repeated(const Device& device, const Answer& answer, const Delta& delta) {
        const bool goes_on = answer.since && (device.inside || answer.section != Section::join);
        std::vector<EventRef> news;
        for (const TrueEvent& event : answer.timeline) {
            if (!goes_on || event.position > device.newest) news.push_back(event.ref);
        }
        std::vector<EventRef> got;
        for (EventRef ref : refs_of(answer.timeline)) {
            if (contains(delta.timeline.events, ref) && contains(news, ref)) got.push_back(ref);
        }
        expect(got == news, "a: a repeated poll lost news");
        if (!answer.since || !device.inside || delta.timeline.limited) return;
        for (EventRef ref : delta.timeline.events) expect(!contains(device.shown, ref), "d: shown twice without a gap");
    }

    void check_contiguous(const Device& device, const Answer& answer, const Delta& delta) {
        if (!answer.since || delta.timeline.limited || device.shown.empty() || delta.timeline.events.empty() || options_.reorder) return;
        std::int64_t end = 0;
        for (EventRef ref : delta.timeline.events) end = std::max(end, ref.value);
        for (const TrueEvent& event : world_.events()) {
            if (event.position <= device.newest || event.position > end || !world_.sees(device.viewer.user, event)) continue;
            expect(contains(delta.timeline.events, event.ref), "a: a hole that is not marked");
        }
    }

    void check_state(const Device& device, const Log& log, const Answer& answer) {
        expect(log.state(log.end()) == device.oracle.now, "b: state differs from a classic client's");
        if (answer.section == Section::join && device.oracle.now != without_members(world_.state(answer.now))) ++tally_.resets_seen;
    }

    void check_last(const Device& device, const Log& log) {
        const Timeline timeline = log.last(chance_.one_of<std::size_t>({1, 2, 3, 5, 10, 100}));
        for (EventRef ref : timeline.events) expect(device.given.contains(ref), "a: the last events show what no poll brought");
        if (timeline.events.empty() || !timeline.prev_batch || options_.reorder) return;
        const std::string& user = device.viewer.user;
        const std::int64_t first = timeline.events.front().value;
        const std::int64_t back = position_of(*timeline.prev_batch);
        std::vector<EventRef> order;
        for (const TrueEvent& event : world_.events()) {
            if (event.position < first) {
                expect(event.position < back || !world_.sees(user, event), "f: prev_batch skips events");
            } else if (event.position <= timeline.events.back().value && world_.sees(user, event, options_.shared_history)) {
                if (contains(timeline.events, event.ref)) {
                    order.push_back(event.ref);
                } else {
                    expect(!world_.sees(user, event), "a: a hole in the last events");
                }
            }
        }
        expect(order == timeline.events, "a: the last events are out of order");
    }

    void replay(Device& device, Log& log, const Answer& answer) {
        ++tally_.replays;
        const Position before = log.end();
        const StateMap state = log.state(before);
        const std::vector<EventRef> last = log.last(8).events;
        log.ingest(answer);
        expect(log.read(before, log.end()).timeline.events.empty(), "d: the same answer again shows events");
        expect(log.state(log.end()) == state, "d: the same answer again changes the state");
        expect(log.last(8).events == last, "d: the same answer again changes the last events");
        device.token = log.end();
    }

    /// Every token reads the same for ever.
    void read_again(const Device& device, const Log& log) {
        for (const auto& [from, to, delta, state] : device.seen) {
            const Delta again = log.read(from, to);
            expect(again.timeline.events == delta.timeline.events && again.timeline.limited == delta.timeline.limited,
                   "e: a token reads otherwise later");
            expect(log.state(to) == state, "e: the state at a token changed later");
        }
    }

    Chance chance_;
    Options options_;
    World world_;
    Tally& tally_;
    std::vector<Device> devices_;
    std::vector<Log> logs_;
    Violations violations_;
};

std::vector<Options> all_options() {
    std::vector<Options> all;
    for (bool after : {true, false}) {
        all.push_back({.state_after = after});
        all.push_back({.devices = 1, .state_after = after});
        all.push_back({.ignore = true, .state_after = after});
        all.push_back({.reorder = true, .state_after = after});
        all.push_back({.resets = true, .state_after = after});
        all.push_back({.leave = true, .state_after = after});
        for (bool shared : {true, false}) {
            for (bool reorder : {true, false}) {
                Options everything{
                    .users = 3, .devices = 6, .steps = 80, .ignore = true, .reorder = reorder, .resets = true, .leave = true};
                everything.shared_history = shared;
                everything.state_after = after;
                all.push_back(everything);
                everything.users = 1;
                everything.devices = 3;
                all.push_back(everything);
            }
        }
    }
    return all;
}

/// How many runs it takes until a mutant violates something; 0 when none of `most` does.
std::uint64_t caught_after(const Mutant& mutant, std::uint64_t most) {
    Tally tally;
    for (std::uint64_t run = 1; run <= most; ++run) {
        Options options{.ignore = true, .resets = true, .leave = true};
        options.state_after = mutant.timeline_on_top || run % 2;
        if (!Trial(seed() + run, options, mutant, tally).run().empty()) return run;
    }
    return 0;
}

}  // namespace

START_TEST(no_world_violates_anything) {
    Tally tally;
    const Mutant right;
    std::uint64_t runs_done = 0;
    const std::vector<Options> all = all_options();
    for (std::size_t kind = 0; kind < all.size(); ++kind) {
        for (std::uint64_t run = 0; run < runs(80); ++run, ++runs_done) {
            const Violations violations = Trial(seed() + run, all[kind], right, tally).run();
            ck_assert_msg(violations.empty(), "kind %zu, seed %llu: %s", kind, static_cast<unsigned long long>(seed() + run),
                          violations.begin()->c_str());
        }
    }
    std::printf("%llu runs, %llu polls, %llu not acknowledged, %llu replays\n", static_cast<unsigned long long>(runs_done),
                static_cast<unsigned long long>(tally.polls), static_cast<unsigned long long>(tally.lost),
                static_cast<unsigned long long>(tally.replays));
    ck_assert_msg(tally.lost > runs_done / 2 && tally.replays > runs_done / 4 && tally.resets_seen > 0, "the worlds are too tame");
}
END_TEST

START_TEST(every_mutant_is_caught) {
    const std::pair<const char*, bool Mutant::*> mutants[] = {
        {"no_dedupe", &Mutant::no_dedupe},   {"base_live", &Mutant::base_live},
        {"merge", &Mutant::merge},           {"pb_always", &Mutant::pb_always},
        {"pb_oldest", &Mutant::pb_oldest},   {"timeline_on_top", &Mutant::timeline_on_top},
        {"gap_across", &Mutant::gap_across}, {"rejoin_continues", &Mutant::rejoin_continues},
    };
    for (const auto& [name, knob] : mutants) {
        Mutant mutant;
        mutant.*knob = true;
        const std::uint64_t after = caught_after(mutant, 3000);
        ck_assert_msg(after, "mutant %s is not caught", name);
        std::printf("mutant %s: caught after %llu runs\n", name, static_cast<unsigned long long>(after));
    }
}
END_TEST

namespace {

std::vector<EventRef> numbers(std::initializer_list<std::int64_t> values) {
    std::vector<EventRef> refs;
    for (std::int64_t value : values) refs.push_back(EventRef{value});
    return refs;
}

std::vector<EventRef> range(std::int64_t from, std::int64_t to) {
    std::vector<EventRef> refs;
    for (; from < to; ++from) refs.push_back(EventRef{from});
    return refs;
}

}  // namespace

START_TEST(sets_are_packed_as_differences) {
    const StateRoot root{StateKey{7}, range(0, 100)};
    std::vector<EventRef> near = range(1, 103);
    StoredState stored = pack_state(near, &root);
    ck_assert(stored.parent == StateKey{7});
    ck_assert(stored.refs == range(100, 103));
    ck_assert(stored.gone == numbers({0}));
    ck_assert(unpack_state(stored, root.refs) == near);

    ck_assert(!pack_state(range(80, 180), &root).parent);  // more than half differs
    ck_assert(!pack_state(range(0, 64), &root).parent);    // small
    ck_assert(!pack_state(near, nullptr).parent);          // nothing to differ from
    ck_assert(unpack_state(pack_state(range(0, 64), &root), {}) == range(0, 64));
}
END_TEST

START_TEST(changed_names_are_those_that_differ) {
    const StateMap before{{{"a", ""}, EventRef{1}}, {{"b", ""}, EventRef{2}}, {{"c", ""}, EventRef{3}}};
    const StateMap after{{{"a", ""}, EventRef{1}}, {{"b", ""}, EventRef{9}}, {{"d", ""}, EventRef{4}}};
    const std::vector<StateName> expected{{"b", ""}, {"c", ""}, {"d", ""}};
    ck_assert(changed_names(before, after) == expected);
    ck_assert(changed_names(after, after).empty());
}
END_TEST

START_TEST(a_part_with_nothing_to_say_makes_no_entry) {
    KnownEntries known;
    known.base.emplace();
    known.base->section = Section::join;
    known.base->state = StateKey{3};
    ListedPart part;
    part.block_is_after = true;
    ck_assert(ground(known, part) == Ground::same);
    ck_assert(!make_entry(known, part, place(known, part), StateKey{3}));
    part.typing.emplace();
    auto typing = make_entry(known, part, place(known, part), StateKey{3});
    ck_assert(typing && !typing->gap && typing->state == StateKey{3} && typing->typing);
}
END_TEST

START_TEST(an_invite_starts_afresh_and_has_no_state) {
    KnownEntries known;
    known.base.emplace();
    known.base->section = Section::leave;
    known.base->state = StateKey{3};
    ListedPart part;
    part.section = Section::invite;
    ck_assert(ground(known, part) == Ground::nothing);
    auto invite = make_entry(known, part, place(known, part), StateKey{});
    ck_assert(invite && invite->gap && !invite->state);
    known.base = invite;
    ck_assert(!make_entry(known, part, place(known, part), StateKey{}));
    part.section = Section::leave;  // refused: the invite is retired (rule 15)
    auto refused = make_entry(known, part, place(known, part), StateKey{});
    ck_assert(refused && refused->section == Section::leave);
    ck_assert(!make_entry(KnownEntries{}, part, place(KnownEntries{}, part), StateKey{}));  // stray (rule 11)
}
END_TEST

START_TEST(a_delta_begins_at_the_last_gap) {
    std::vector<Entry> entries(4);
    for (std::size_t i = 0; i < entries.size(); ++i) {
        entries[i].seq = Position{static_cast<std::int64_t>(i) + 1};
        entries[i].section = Section::join;
        entries[i].events = numbers({static_cast<std::int64_t>(10 * i)});
        entries[i].next_batch = "n" + std::to_string(i);
    }
    entries[0].gap = entries[2].gap = true;
    entries[2].limited = true;
    entries[2].prev_batch = "p2";
    Delta delta = read_delta(entries, std::nullopt);
    ck_assert(delta.initial && delta.timeline.limited && delta.timeline.events == numbers({20, 30}) && delta.timeline.prev_batch == "p2");
    delta = read_delta(std::span(entries).last(1), Section::join);
    ck_assert(!delta.initial && !delta.timeline.limited && delta.timeline.events == numbers({30}) && delta.timeline.prev_batch == "n3");

    std::ranges::reverse(entries);
    ck_assert(reaches_back(std::span(entries).first(1), 1));
    ck_assert(!reaches_back(std::span(entries).first(1), 2));
    ck_assert(reaches_back(std::span(entries).first(2), 50));
    Timeline last = read_last(std::span(entries).first(2), 50);
    ck_assert(last.limited && last.events == numbers({20, 30}) && last.prev_batch == "p2");
    last = read_last(entries, 1);
    ck_assert(last.limited && last.events == numbers({30}) && last.prev_batch == "n3");
    last = read_last(entries, 0);
    ck_assert(last.limited && last.events.empty() && last.prev_batch == "n3");
}
END_TEST

MATRIX_SYNC_SUITE("log model", no_world_violates_anything, every_mutant_is_caught, sets_are_packed_as_differences,
                  changed_names_are_those_that_differ, a_part_with_nothing_to_say_makes_no_entry, an_invite_starts_afresh_and_has_no_state,
                  a_delta_begins_at_the_last_gap)
