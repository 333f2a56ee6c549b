// The rule of the member list as a property test over random worlds, with mutants that it has to catch, and what facts are made of.
#include "core/rooms/member_fact.hpp"

#include <algorithm>

// Last, because of Check's macros.
#include "assert_text.hpp"
#include "member_world.hpp"
#include "suite.hpp"

using namespace matrix_sync;
using member_world::Tally;
using world::runs;
using world::seed;

namespace {

enum class Mutant { none, last_word_counts, ties_are_passed_over, fetched_at_first, unlisted_always_goes };

class PureList : public member_world::ListKeeper {
  public:
    explicit PureList(Mutant mutant) : mutant_(mutant) {}

    void tell(const std::vector<MemberFact>& facts, std::optional<Microseconds> gap) override {
        if (gap) times_.doubt = std::max(times_.doubt, *gap);
        for (const MemberFact& fact : facts) {
            if (mutant_ == Mutant::fetched_at_first && !gap) times_.fetched = std::max(times_.fetched, fact.said.asked);
            tell(rows_[fact.member.user.value], fact);
        }
    }
    void end_fetch(const std::vector<std::string>& listed, Microseconds asked) override {
        for (auto& [user, row] : rows_) {
            if (!row || std::ranges::find(listed, user) != listed.end()) continue;
            if (mutant_ == Mutant::unlisted_always_goes || unlisted_is_gone(*row, times_, asked)) row.reset();
        }
        times_.fetched = std::max(times_.fetched, asked);
    }
    bool complete() override { return times_.complete(); }
    std::map<std::string, EventRef> rows() override {
        std::map<std::string, EventRef> refs;
        for (const auto& [user, row] : rows_) {
            if (row) refs[user] = row->ref;
        }
        return refs;
    }

  private:
    void tell(std::optional<MemberRow>& row, const MemberFact& fact) {
        if (mutant_ == Mutant::last_word_counts && row && row->ref != fact.ref()) {
            row = MemberRow{fact.ref(), fact.event_id, fact.said, {}};
            return;
        }
        const Microseconds doubt = times_.doubt;
        judge(row, times_, fact);
        if (row) ck_assert_uint_le(row->earlier.size(), kMostEarlier);
        if (mutant_ == Mutant::ties_are_passed_over) times_.doubt = doubt;
    }

    Mutant mutant_;
    std::map<std::string, std::optional<MemberRow>> rows_;
    MemberListTimes times_;
};

/// At most so many trials; a mutant's end when it is caught.
Tally run(Mutant mutant, std::uint64_t trials) {
    Tally all;
    for (std::uint64_t trial = 0; trial < trials && all.stale == 0; ++trial) {
        PureList list(mutant);
        const Tally tally = member_world::Trial(seed() + trial, list).run();
        all.looks += tally.looks;
        all.stale += tally.stale;
        if (mutant == Mutant::none) ck_assert_msg(tally.stale == 0, "seed %llu", static_cast<unsigned long long>(seed() + trial));
    }
    return all;
}

MemberFact fact(std::int64_t ref, Microseconds asked, Microseconds answered, std::vector<EventRef> before = {}) {
    MemberFact fact;
    fact.member.user = UserId{"@x:world"};
    fact.member.ref = EventRef{ref};
    fact.event_id = EventId{"$" + std::to_string(ref)};
    fact.said = {asked, answered};
    fact.before = std::move(before);
    return fact;
}

Event member_event(const std::string& id, const std::string& user, const std::string& content, const std::string& rest = "") {
    Event event;
    event.event_id = EventId{id};
    event.type = "m.room.member";
    event.state_key = user;
    event.sender = UserId{user};
    event.membership = "join";
    event.body = R"({"type":"m.room.member","content":)" + content + rest + "}";
    return event;
}

/// `$12` is stored as 12; `$x…` is of another room.
std::optional<EventRef> ref_of(const EventId& id) {
    if (id.value.starts_with("$x")) return std::nullopt;
    return EventRef{std::stoll(id.value.substr(1))};
}

/// "user:ref<before,before" of each fact.
std::string told(const std::vector<MemberFact>& facts) {
    std::string text;
    for (const MemberFact& fact : facts) {
        text += (text.empty() ? "" : " ") + fact.member.user.value + ":" + std::to_string(fact.ref().value);
        for (std::size_t i = 0; i < fact.before.size(); ++i) text += (i ? "," : "<") + std::to_string(fact.before[i].value);
    }
    return text;
}

}  // namespace

START_TEST(a_complete_list_is_never_stale) {
    const Tally tally = run(Mutant::none, runs(3000));
    ck_assert_uint_gt(tally.looks, 10'000);
    ck_assert_uint_eq(tally.stale, 0);
}
END_TEST

START_TEST(mutants_are_caught) {
    for (Mutant mutant : {Mutant::last_word_counts, Mutant::ties_are_passed_over, Mutant::fetched_at_first, Mutant::unlisted_always_goes}) {
        const Tally tally = run(mutant, runs(100'000));
        ck_assert_msg(tally.stale > 0, "mutant %d survives", static_cast<int>(mutant));
    }
}
END_TEST

START_TEST(the_newer_of_two_is_told_by_time_by_chunk_or_by_what_it_replaces) {
    MemberListTimes times;
    std::optional<MemberRow> row;
    ck_assert(judge(row, times, fact(1, 10, 20)) == MemberVerdict::replaced);
    ck_assert(judge(row, times, fact(2, 20, 30)) == MemberVerdict::replaced);  // asked when 1 had been answered
    ck_assert(judge(row, times, fact(1, 25, 27)) == MemberVerdict::nothing);   // known to be older
    ck_assert(judge(row, times, fact(9, 5, 20)) == MemberVerdict::nothing);    // answered when 2 had not been asked for yet
    ck_assert_int_eq(times.doubt, 0);
    ck_assert(judge(row, times, fact(3, 25, 35, {EventRef{2}})) == MemberVerdict::replaced);
    MemberFact replacing = fact(4, 26, 33);
    replacing.replaces = EventId{"$3"};
    ck_assert(judge(row, times, replacing) == MemberVerdict::replaced);
    ck_assert_int_eq(times.doubt, 0);
    ck_assert(judge(row, times, fact(5, 30, 50)) == MemberVerdict::nothing);  // cannot be told
    ck_assert_int_eq(times.doubt, 50);
    ck_assert_int_eq(row->ref.value, 4);
}
END_TEST

START_TEST(the_same_word_again_is_written_down_only_when_it_is_older) {
    MemberListTimes times;
    std::optional<MemberRow> row;
    judge(row, times, fact(1, 10, 20));
    ck_assert(judge(row, times, fact(1, 30, 40)) == MemberVerdict::nothing);
    ck_assert_int_eq(row->said.asked, 10);
    ck_assert(judge(row, times, fact(1, 12, 15)) == MemberVerdict::noted);
    ck_assert_int_eq(row->said.asked, 12);
    ck_assert_int_eq(row->said.answered, 15);
    times.fetched = 50;  // a whole list said so again
    ck_assert(judge(row, times, fact(2, 13, 50)) == MemberVerdict::nothing);
    ck_assert_int_eq(times.doubt, 0);
}
END_TEST

START_TEST(only_the_last_earlier_events_are_kept) {
    MemberListTimes times;
    std::optional<MemberRow> row;
    for (std::int64_t i = 1; i <= 20; ++i) judge(row, times, fact(i, 10 * i, 10 * i + 5));
    ck_assert_uint_eq(row->earlier.size(), kMostEarlier);
    ck_assert_int_eq(row->earlier.back().value, 19);
    ck_assert_int_eq(row->earlier.front().value, 12);
}
END_TEST

START_TEST(a_whole_list_also_speaks_of_those_it_does_not_name) {
    const MemberListTimes times{0, 50};
    MemberRow row{EventRef{1}, EventId{"$1"}, {10, 20}, {}};
    ck_assert(unlisted_is_gone(row, times, 60));
    ck_assert(!unlisted_is_gone(row, times, 40));  // a newer list has come already
    row.said.answered = 61;
    ck_assert(!unlisted_is_gone(row, times, 60));

    MemberListTimes now = times;
    std::optional<MemberRow> none;
    ck_assert(judge(none, now, fact(1, 30, 50)) == MemberVerdict::nothing);
    ck_assert(!none);
    ck_assert(judge(none, now, fact(1, 40, 70)) == MemberVerdict::replaced);
    ck_assert_int_eq(now.doubt, 70);
    none.reset();
    now = times;
    ck_assert(judge(none, now, fact(1, 50, 70)) == MemberVerdict::replaced);
    ck_assert_int_eq(now.doubt, 0);
}
END_TEST

START_TEST(facts_are_the_last_word_of_a_part) {
    RoomPart part;
    part.timeline = {member_event("$1", "@a:w", "{}"), member_event("$2", "@b:w", "{}"), member_event("$x3", "@c:w", "{}"),
                     member_event("$4", "@a:w", "{}", R"(,"unsigned":{"replaces_state":"$1"})"), member_event("$5", "@a:w", "{}")};
    part.timeline.push_back(Event{});
    part.state = {member_event("$6", "@a:w", "{}"), member_event("$7", "@d:w", "{}"), member_event("$4", "@a:w", "{}")};
    assert_text(told(member_facts(part, {1, 2}, ref_of)), "@a:w:5<1,4 @b:w:2 @d:w:7");
    part.state_is_after = true;
    part.state.pop_back();
    assert_text(told(member_facts(part, {1, 2}, ref_of)), "@a:w:6<1,4,5 @b:w:2 @d:w:7");
    part.state = {member_event("$5", "@a:w", "{}")};
    auto facts = member_facts(part, {1, 2}, ref_of);
    assert_text(told(facts), "@a:w:5<1,4 @b:w:2");
    ck_assert_int_eq(facts[0].said.asked, 1);
    part.section = Section::leave;
    ck_assert_int_eq(member_facts(part, {1, 2}, ref_of)[0].said.asked, 0);
}
END_TEST

START_TEST(a_member_event_becomes_a_row) {
    auto event =
        member_event("$1", "@A:w", R"({"displayname":"\u0410nna","avatar_url":"mxc://w/a"})", R"(,"unsigned":{"replaces_state":"$0"})");
    event.membership = "ban";
    auto row = read_member_row(event, EventRef{1});
    ck_assert(row && row->membership == Membership::ban);
    assert_text(row->sort_name, "\u0430nna");
    assert_text(row->avatar_url.value_or(""), "mxc://w/a");
    const Member redacted = redacted_member(*row);
    ck_assert(!redacted.displayname && !redacted.avatar_url);
    assert_text(redacted.sort_name, "a:w");
    event.membership = "org.example.lurk";
    ck_assert(read_member_row(event, EventRef{1})->membership == Membership::leave);
    event.state_key = std::string(256, 'x');
    ck_assert(!read_member_row(event, EventRef{1}));
    event.state_key.reset();
    ck_assert(!read_member_row(event, EventRef{1}));

    RoomPart part;
    part.timeline = {member_event("$1", "@a:w", "{}", R"(,"unsigned":{"replaces_state":"$0"})")};
    assert_text(member_facts(part, {}, ref_of)[0].replaces.value, "$0");
}
END_TEST

MATRIX_SYNC_SUITE("members", a_complete_list_is_never_stale, mutants_are_caught,
                  the_newer_of_two_is_told_by_time_by_chunk_or_by_what_it_replaces,
                  the_same_word_again_is_written_down_only_when_it_is_older, only_the_last_earlier_events_are_kept,
                  a_whole_list_also_speaks_of_those_it_does_not_name, facts_are_the_last_word_of_a_part, a_member_event_becomes_a_row)
