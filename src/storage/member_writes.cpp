#include "storage/member_writes.hpp"

#include <utility>

#include "storage/array_text.hpp"

namespace matrix_sync {

namespace {

const Statement close_rows{"members_close_rows", R"sql(
    UPDATE member SET until = w.until
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS w (room, user_id, since, until)
    WHERE member.room = w.room AND member.user_id = w.user_id AND member.since = w.since
)sql"};

const Statement insert_rows{"members_insert_rows", R"sql(
    INSERT INTO member (room, user_id, since, ref, membership, sort_name, displayname, avatar_url, asked, answered, earlier)
    SELECT w.room, w.user_id, w.since, w.ref, w.membership, w.sort_name, w.displayname, w.avatar_url, w.asked, w.answered,
           w.earlier::bigint[]
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                $10::bigint[], $11::text[])
        AS w (room, user_id, since, ref, membership, sort_name, displayname, avatar_url, asked, answered, earlier)
)sql"};

const Statement note_rows{"members_note_rows", R"sql(
    UPDATE member SET asked = w.asked, answered = w.answered, earlier = w.earlier::bigint[]
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
        AS w (room, user_id, since, asked, answered, earlier)
    WHERE member.room = w.room AND member.user_id = w.user_id AND member.since = w.since
)sql"};

const Statement put_lists{"members_put_lists", R"sql(
    UPDATE member_list SET version = w.version, doubt = w.doubt, fetched = w.fetched
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS w (room, version, doubt, fetched)
    WHERE member_list.room = w.room
)sql"};

}  // namespace

void MemberWrites::Keys::add(const MemberRowKey& key) {
    rooms.push_back(key.room.value);
    users.push_back(key.user);
    since.push_back(key.since);
}

Params MemberWrites::Keys::params() const {
    Params params;
    params.bigints(rooms).texts(users).bigints(since);
    return params;
}

void MemberWrites::Times::add(const MemberRow& row) {
    asked.push_back(row.said.asked);
    answered.push_back(row.said.answered);
    earlier.push_back(array_text(row.earlier));
}

void MemberWrites::close(const MemberRowKey& key, std::int64_t until) {
    closed_.keys.add(key);
    closed_.until.push_back(until);
}

void MemberWrites::insert(const MemberRowKey& key, const Member& member, const MemberRow& row) {
    inserted_.keys.add(key);
    inserted_.refs.push_back(member.ref.value);
    inserted_.memberships.push_back(static_cast<std::int16_t>(member.membership));
    inserted_.sort_names.push_back(member.sort_name);
    inserted_.displaynames.push_back(member.displayname);
    inserted_.avatar_urls.push_back(member.avatar_url);
    inserted_.times.add(row);
}

void MemberWrites::note(const MemberRowKey& key, const MemberRow& row) {
    noted_.keys.add(key);
    noted_.times.add(row);
}

void MemberWrites::put_list(RoomKey room, std::int64_t version, const MemberListTimes& times) {
    lists_.rooms.push_back(room.value);
    lists_.versions.push_back(version);
    lists_.doubts.push_back(times.doubt);
    lists_.fetched.push_back(times.fetched);
}

void MemberWrites::send(Sending& sending) const {
    if (!closed_.until.empty()) {
        Params params = closed_.keys.params();
        params.bigints(closed_.until);
        sending.send(close_rows, std::move(params));
    }
    if (!inserted_.refs.empty()) {
        Params params = inserted_.keys.params();
        params.bigints(inserted_.refs).smallints(inserted_.memberships).texts(inserted_.sort_names).texts(inserted_.displaynames);
        params.texts(inserted_.avatar_urls);
        params.bigints(inserted_.times.asked).bigints(inserted_.times.answered).texts(inserted_.times.earlier);
        sending.send(insert_rows, std::move(params));
    }
    if (!noted_.times.asked.empty()) {
        Params params = noted_.keys.params();
        params.bigints(noted_.times.asked).bigints(noted_.times.answered).texts(noted_.times.earlier);
        sending.send(note_rows, std::move(params));
    }
    if (!lists_.rooms.empty()) {
        Params params;
        params.bigints(lists_.rooms).bigints(lists_.versions).bigints(lists_.doubts).bigints(lists_.fetched);
        sending.send(put_lists, std::move(params));
    }
}

}  // namespace matrix_sync
