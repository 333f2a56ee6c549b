// Writes member lists. What may be known already is looked up first, without a lock; only a room with news is locked, looked at and
// written.
#include "storage/members.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "storage/member_writes.hpp"

namespace matrix_sync {

namespace {

const Statement get_lists{"members_get_lists", R"sql(
    SELECT room, version, doubt, fetched FROM member_list WHERE room = ANY ($1::bigint[])
)sql"};

const Statement insert_lists{"members_insert_lists", R"sql(
    INSERT INTO member_list (room) SELECT room FROM unnest($1::bigint[]) AS w (room) ORDER BY room
    ON CONFLICT (room) DO NOTHING
)sql"};

const Statement lock_lists{"members_lock_lists", R"sql(
    SELECT room, version, doubt, fetched FROM member_list WHERE room = ANY ($1::bigint[]) ORDER BY room FOR UPDATE
)sql"};

const Statement get_rows{"members_get_rows", R"sql(
    SELECT m.room, m.user_id, m.since, m.ref, m.membership, m.sort_name, m.displayname, m.avatar_url, m.asked, m.answered, m.earlier,
           coalesce(e.event_id, '')
    FROM unnest($1::bigint[], $2::text[]) AS w (room, user_id)
    JOIN member m ON m.room = w.room AND m.user_id = w.user_id AND m.until IS NULL
    LEFT JOIN event e ON e.ref = m.ref
)sql"};

const Statement get_redacted{"members_get_redacted", R"sql(
    SELECT ref FROM event WHERE ref = ANY ($1::bigint[]) AND redacted
)sql"};

using UserKey = std::pair<RoomKey, std::string>;

bool has_names(const Member& member) {
    return member.displayname || member.avatar_url;
}

/// A row as it is stored, and as it is to be.
struct Row {
    std::int64_t since = 0;  ///< of the stored row; 0: none
    std::optional<MemberRow> row;
    Member member;
    bool changed = false;
    bool noted = false;
};

struct List {
    std::int64_t version = 0;
    MemberListTimes times;
    MemberListTimes stored;
    bool exists = false;
    std::set<std::string> changed;  ///< users with another row, or none any more

    bool times_changed() const { return times.doubt != stored.doubt || times.fetched != stored.fetched; }
};

/// The lists of some rooms with the rows of some users, in memory.
class Lists {
  public:
    void take_lists(const Rows& rows) {
        for (std::size_t row = 0; row < rows.size(); ++row) {
            List& list = lists_[RoomKey{rows.bigint(row, 0)}];
            list.version = rows.bigint(row, 1);
            list.times = {rows.bigint(row, 2), rows.bigint(row, 3)};
            list.stored = list.times;
            list.exists = true;
        }
    }

    void take_rows(const Rows& rows) {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            Row row;
            row.since = rows.bigint(i, 2);
            row.member.user = UserId{std::string(rows.text(i, 1))};
            row.member.ref = EventRef{rows.bigint(i, 3)};
            row.member.membership = Membership{rows.smallint(i, 4)};
            row.member.sort_name = rows.text(i, 5);
            row.member.displayname = rows.maybe_text(i, 6);
            row.member.avatar_url = rows.maybe_text(i, 7);
            std::vector<EventRef> earlier;
            for (std::int64_t ref : rows.bigints(i, 10)) earlier.push_back(EventRef{ref});
            row.row = MemberRow{row.member.ref, EventId{std::string(rows.text(i, 11))}, {rows.bigint(i, 8), rows.bigint(i, 9)}, earlier};
            UserKey key{RoomKey{rows.bigint(i, 0)}, row.member.user.value};
            rows_[std::move(key)] = std::move(row);
        }
    }

    void take_redacted(const Rows& rows) {
        for (std::size_t row = 0; row < rows.size(); ++row) redacted_.insert(EventRef{rows.bigint(row, 0)});
    }

    void apply(const MemberFacts& facts) {
        for (const MemberFact& fact : facts.facts) apply(facts.room, fact);
        for (const auto& redacted : facts.redacted) redact(facts.room, redacted.user, redacted.ref);
        MemberListTimes& times = lists_[facts.room].times;
        if (facts.gap) times.doubt = std::max(times.doubt, *facts.gap);
    }

    void end_fetch(RoomKey room, const std::vector<std::string>& unlisted, Microseconds asked) {
        List& list = lists_[room];
        for (const std::string& user : unlisted) {
            auto found = rows_.find({room, user});
            if (found == rows_.end() || !unlisted_is_gone(*found->second.row, list.times, asked)) continue;
            found->second.row.reset();
            change(room, found->second, user);
        }
        list.times.fetched = std::max(list.times.fetched, asked);
    }

    /// Whether anything about the room would have to be written.
    bool news(RoomKey room) const {
        const List& list = lists_.at(room);
        return !list.exists || list.times_changed() || !list.changed.empty() || noted_.contains(room);
    }

    void write(Sending& sending) const;

  private:
    void apply(RoomKey room, const MemberFact& fact) {
        Row& row = rows_[{room, fact.member.user.value}];
        const MemberVerdict verdict = judge(row.row, lists_[room].times, fact);
        if (verdict == MemberVerdict::replaced) {
            row.member = redacted_.contains(fact.ref()) ? redacted_member(fact.member) : fact.member;
            change(room, row, fact.member.user.value);
        } else if (verdict == MemberVerdict::noted) {
            row.noted = true;
            noted_.insert(room);
        }
        // The same event says less than it did: it has been redacted.
        if (!has_names(fact.member)) redact(room, fact.member.user.value, fact.ref());
    }

    void redact(RoomKey room, const std::string& user, EventRef ref) {
        auto found = rows_.find({room, user});
        if (found == rows_.end() || !found->second.row || found->second.row->ref != ref || !has_names(found->second.member)) return;
        found->second.member = redacted_member(std::move(found->second.member));
        change(room, found->second, user);
    }

    void change(RoomKey room, Row& row, const std::string& user) {
        row.changed = true;
        lists_[room].changed.insert(user);
    }

    std::map<RoomKey, List> lists_;
    std::map<UserKey, Row> rows_;
    std::set<EventRef> redacted_;
    std::set<RoomKey> noted_;
};

/// All changes of a room in one call are one version: nobody sees the list between them, whoever commits.
void Lists::write(Sending& sending) const {
    MemberWrites writes;
    for (const auto& [key, row] : rows_) {
        const std::int64_t version = lists_.at(key.first).version + 1;
        if (row.changed && row.since) writes.close({key.first, key.second, row.since}, version);
        if (row.changed && row.row) writes.insert({key.first, key.second, version}, row.member, *row.row);
        if (row.noted && !row.changed) writes.note({key.first, key.second, row.since}, *row.row);
    }
    for (const auto& [room, list] : lists_) {
        if (list.changed.empty() && !list.times_changed()) continue;
        writes.put_list(room, list.version + (list.changed.empty() ? 0 : 1), list.times);
    }
    writes.send(sending);
}

Params room_params(const std::set<RoomKey>& rooms) {
    std::vector<std::int64_t> keys;
    keys.reserve(rooms.size());
    for (RoomKey room : rooms) keys.push_back(room.value);
    Params params;
    params.bigints(keys);
    return params;
}

Params user_params(const std::set<UserKey>& users) {
    std::vector<std::int64_t> rooms;
    std::vector<std::string> names;
    for (const auto& [room, user] : users) {
        rooms.push_back(room.value);
        names.push_back(user);
    }
    Params params;
    params.bigints(rooms).texts(names);
    return params;
}

/// What has to be known of some facts before they can be judged.
struct Concerned {
    Concerned() = default;
    explicit Concerned(const std::vector<MemberFacts>& all) {
        for (const MemberFacts& facts : all) add(facts);
    }

    void add(const MemberFacts& facts) {
        rooms.insert(facts.room);
        for (const MemberFact& fact : facts.facts) {
            users.emplace(facts.room, fact.member.user.value);
            refs.push_back(fact.ref().value);
        }
        for (const auto& redacted : facts.redacted) users.emplace(facts.room, redacted.user);
    }

    std::set<RoomKey> rooms;
    std::set<UserKey> users;
    std::vector<std::int64_t> refs;
};

Task<void> look(Sending& sending, const Concerned& concerned, Lists& lists) {
    if (concerned.rooms.empty()) co_return;
    Query lists_query = sending.ask(get_lists, room_params(concerned.rooms));
    Query rows_query = sending.ask(get_rows, user_params(concerned.users));
    Rows list_rows = co_await lists_query;
    lists.take_lists(list_rows);
    Rows rows = co_await rows_query;
    lists.take_rows(rows);
}

Task<void> lock(Sending& sending, const Concerned& concerned, Lists& lists) {
    sending.send(insert_lists, room_params(concerned.rooms));
    Query lists_query = sending.ask(lock_lists, room_params(concerned.rooms));
    Query rows_query = sending.ask(get_rows, user_params(concerned.users));
    Params refs;
    refs.bigints(concerned.refs);
    Query redacted_query = sending.ask(get_redacted, std::move(refs));
    Rows list_rows = co_await lists_query;
    lists.take_lists(list_rows);
    Rows rows = co_await rows_query;
    lists.take_rows(rows);
    Rows redacted = co_await redacted_query;
    lists.take_redacted(redacted);
}

}  // namespace

Microseconds ClockReading::at_earliest(Instant when) const {
    // The loop's clock counts whole milliseconds, and does not go exactly as fast as the other.
    const Instant ago = received - when;
    return time - std::chrono::microseconds(ago + ago / 5000 + Instant{1}).count();
}

Task<void> write_members(Sending& sending, std::vector<MemberFacts> rooms) {
    std::erase_if(rooms, [](const MemberFacts& facts) { return facts.facts.empty() && facts.redacted.empty() && !facts.gap; });
    if (rooms.empty()) co_return;
    std::set<RoomKey> sure;
    for (const MemberFacts& facts : rooms) {
        if (facts.news) sure.insert(facts.room);
    }
    Lists known;
    Concerned perhaps_known;
    for (const MemberFacts& facts : rooms) {
        if (!sure.contains(facts.room)) perhaps_known.add(facts);
    }
    co_await look(sending, perhaps_known, known);
    for (const MemberFacts& facts : rooms) {
        if (!sure.contains(facts.room)) known.apply(facts);
    }
    // What says nothing new need not be judged again under a lock: it is as if it had come before whatever is being written meanwhile.
    std::erase_if(rooms, [&](const MemberFacts& facts) { return !sure.contains(facts.room) && !known.news(facts.room); });
    if (rooms.empty()) co_return;

    Lists lists;
    Concerned concerned(rooms);
    co_await lock(sending, concerned, lists);
    for (const MemberFacts& facts : rooms) lists.apply(facts);
    lists.write(sending);
}

Task<void> end_fetch(Sending& sending, RoomKey room, std::vector<std::string> unlisted, Microseconds asked) {
    Concerned concerned;
    concerned.rooms.insert(room);
    for (const std::string& user : unlisted) concerned.users.emplace(room, user);
    Lists lists;
    co_await lock(sending, concerned, lists);
    lists.end_fetch(room, unlisted, asked);
    lists.write(sending);
}

}  // namespace matrix_sync
