#include "core/rooms/member_fact.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/classic/event.hpp"
#include "core/matrix/casefold.hpp"
#include "core/matrix/content.hpp"

namespace matrix_sync {

namespace {

bool contains(const std::vector<EventRef>& refs, EventRef ref) {
    return std::ranges::find(refs, ref) != refs.end();
}

void add_earlier(std::vector<EventRef>& earlier, EventRef ref) {
    std::erase(earlier, ref);
    earlier.push_back(ref);
    // Whatever is forgotten only leads to doubt.
    if (earlier.size() > kMostEarlier) earlier.erase(earlier.begin());
}

bool shown_to_follow(const MemberFact& fact, const MemberRow& row) {
    return contains(fact.before, row.ref) || (!fact.replaces.empty() && fact.replaces == row.event_id);
}

MemberRow row_of(const MemberFact& fact, std::vector<EventRef> earlier) {
    for (EventRef ref : fact.before) add_earlier(earlier, ref);
    std::erase(earlier, fact.ref());
    return {fact.ref(), fact.event_id, fact.said, std::move(earlier)};
}

MemberVerdict judge_first(std::optional<MemberRow>& row, MemberListTimes& times, const MemberFact& fact) {
    // A whole list is also the word about those whom it does not name.
    if (fact.said.answered <= times.fetched) return MemberVerdict::nothing;
    if (fact.said.asked < times.fetched) times.doubt = std::max(times.doubt, fact.said.answered);
    row = row_of(fact, {});
    return MemberVerdict::replaced;
}

MemberVerdict judge_again(MemberRow& row, const MemberFact& fact) {
    if (fact.said.answered >= row.said.answered) return MemberVerdict::nothing;
    row.said.answered = fact.said.answered;
    row.said.asked = std::max(row.said.asked, fact.said.asked);
    for (EventRef ref : fact.before) add_earlier(row.earlier, ref);
    return MemberVerdict::noted;
}

Membership membership_of(std::string_view name) {
    static const std::map<std::string_view, Membership> memberships = {
        {"join", Membership::join}, {"invite", Membership::invite}, {"knock", Membership::knock}, {"ban", Membership::ban}};
    auto found = memberships.find(name);
    return found == memberships.end() ? Membership::leave : found->second;
}

EventId replaced_by(const Event& event) {
    if (event.body.find("\"replaces_state\"") == std::string::npos) return {};
    return EventId{json_text(json_member(json_member(event.body, "unsigned"), "replaces_state")).value_or("")};
}

/// Collects facts in the order in which an answer shows events to follow each other.
class Collector {
  public:
    Collector(Said said, const RefOf& ref_of) : said_(said), ref_of_(ref_of) {}

    void add(const Event& event) {
        auto member = read(event);
        if (!member) return;
        MemberFact fact{std::move(*member), event.event_id, said_, {}, replaced_by(event)};
        auto [place, fresh] = places_.try_emplace(fact.member.user.value, facts_.size());
        if (fresh) {
            facts_.push_back(std::move(fact));
            return;
        }
        MemberFact& older = facts_[place->second];
        fact.before = std::move(older.before);
        fact.before.push_back(older.ref());
        std::erase(fact.before, fact.ref());
        older = std::move(fact);
    }
    /// Only for users of whom nothing is said yet.
    void add_if_new(const Event& event) {
        if (event.state_key && !places_.contains(*event.state_key)) add(event);
    }
    std::vector<MemberFact> take() { return std::move(facts_); }

  private:
    std::optional<Member> read(const Event& event) const {
        if (event.type != "m.room.member") return std::nullopt;
        auto ref = ref_of_(event.event_id);
        return ref ? read_member_row(event, *ref) : std::nullopt;
    }

    Said said_;
    const RefOf& ref_of_;
    std::vector<MemberFact> facts_;
    std::map<std::string, std::size_t> places_;
};

}  // namespace

MemberVerdict judge(std::optional<MemberRow>& row, MemberListTimes& times, const MemberFact& fact) {
    if (!row) return judge_first(row, times, fact);
    if (row->ref == fact.ref()) return judge_again(*row, fact);
    if (fact.said.asked >= row->said.answered || shown_to_follow(fact, *row)) {
        std::vector<EventRef> earlier = std::move(row->earlier);
        add_earlier(earlier, row->ref);
        row = row_of(fact, std::move(earlier));
        return MemberVerdict::replaced;
    }
    // Whoever is in a whole list was so when it was asked for.
    const Microseconds asked = std::max(row->said.asked, times.fetched);
    if (asked >= fact.said.answered || contains(row->earlier, fact.ref())) return MemberVerdict::nothing;
    times.doubt = std::max({times.doubt, fact.said.answered, row->said.answered});
    return MemberVerdict::nothing;
}

bool unlisted_is_gone(const MemberRow& row, const MemberListTimes& times, Microseconds asked) {
    return row.said.answered <= asked && times.fetched < asked;
}

std::optional<Member> read_member_row(const Event& event, EventRef ref) {
    if (event.type != "m.room.member" || !event.state_key || event.state_key->empty() || !is_identifier(*event.state_key))
        return std::nullopt;
    MemberContent content = read_member(event.body);
    Member member;
    member.user = UserId{*event.state_key};
    member.ref = ref;
    member.membership = membership_of(event.membership);
    member.sort_name = member_sort_name(content.displayname, member.user.value);
    member.displayname = std::move(content.displayname);
    member.avatar_url = std::move(content.avatar_url);
    return member;
}

Member redacted_member(Member member) {
    member.displayname.reset();
    member.avatar_url.reset();
    member.sort_name = member_sort_name(std::nullopt, member.user.value);
    return member;
}

std::vector<MemberFact> member_facts(const RoomPart& part, Said said, const RefOf& ref_of) {
    if (part.section == Section::leave) said.asked = 0;
    Collector facts(said, ref_of);
    for (const Event& event : part.timeline) facts.add(event);
    for (const Event& event : part.state) {
        if (part.state_is_after) {
            facts.add(event);
        } else {
            facts.add_if_new(event);
        }
    }
    return facts.take();
}

}  // namespace matrix_sync
