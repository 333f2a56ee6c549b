// Reads member lists.
#include <algorithm>

#include "storage/members.hpp"

namespace matrix_sync {

namespace {

constexpr std::int64_t changes_at_once = 1000;
constexpr std::int64_t users_at_once = 5000;

#define MATRIX_SYNC_MEMBER_COLUMNS "m.user_id, m.ref, m.membership, m.sort_name, m.displayname, m.avatar_url"

const Statement get_pairs{"member_rows_get_pairs", "SELECT " MATRIX_SYNC_MEMBER_COLUMNS R"sql(, m.room
    FROM unnest($1::bigint[], $2::text[]) AS w (room, user_id)
    JOIN member m ON m.room = w.room AND m.user_id = w.user_id AND m.until IS NULL
)sql"};

const Statement get_list{"member_rows_get_list", R"sql(
    SELECT coalesce(version, 0), coalesce(fetched > doubt, false), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM (SELECT $1::bigint AS room) AS wanted LEFT JOIN member_list USING (room)
)sql"};

const Statement get_at{"member_rows_get_at", "(SELECT " MATRIX_SYNC_MEMBER_COLUMNS R"sql(, false AS named
    FROM unnest($3::bigint[]) AS wanted (membership)
    CROSS JOIN LATERAL (
        SELECT * FROM member
        WHERE room = $1::bigint AND membership = wanted.membership::smallint
          AND (sort_name, user_id) > (coalesce($7::text, (
              SELECT sort_name FROM member
              WHERE room = $1::bigint AND user_id = $4::text AND since <= $2::bigint AND (until IS NULL OR until > $2::bigint)
          )), $4::text)
          AND since <= $2::bigint AND (until IS NULL OR until > $2::bigint)
        ORDER BY sort_name, user_id LIMIT $5::bigint
    ) AS m
    ORDER BY m.sort_name, m.user_id LIMIT $5::bigint)
    UNION ALL SELECT )sql" MATRIX_SYNC_MEMBER_COLUMNS R"sql(, true
    FROM unnest($6::text[]) AS wanted (user_id)
    CROSS JOIN LATERAL (
        SELECT * FROM member
        WHERE room = $1::bigint AND user_id = wanted.user_id AND since <= $2::bigint AND (until IS NULL OR until > $2::bigint)
        OFFSET 0
    ) AS m
    ORDER BY named, sort_name, user_id
)sql"};

// Whole versions only. What a row was before `cut` does not count where it has changed again: that comes with the next ones.
const Statement get_changes{"member_rows_get_changes", R"sql(
    WITH list AS MATERIALIZED (
        SELECT version, fetched > doubt AS complete FROM member_list WHERE room = $1::bigint
    ), cut AS MATERIALIZED (
        SELECT least(
            (SELECT version FROM list),
            (SELECT since FROM member WHERE room = $1::bigint AND since > $2::bigint AND since > 0 ORDER BY since OFFSET $3::bigint LIMIT 1),
            (SELECT until FROM member WHERE room = $1::bigint AND until > $2::bigint ORDER BY until OFFSET $3::bigint LIMIT 1)
        ) AS version
    ), change AS (
        SELECT user_id, ref, membership, sort_name, displayname, avatar_url FROM member
        WHERE room = $1::bigint AND since > $2::bigint AND since > 0 AND since <= (SELECT version FROM cut) AND until IS NULL
        UNION ALL
        SELECT DISTINCT gone.user_id, NULL::bigint, NULL::smallint, NULL, NULL, NULL FROM member gone
        WHERE gone.room = $1::bigint AND gone.until > $2::bigint AND gone.until <= (SELECT version FROM cut)
          AND NOT EXISTS (SELECT FROM member m WHERE m.room = $1::bigint AND m.user_id = gone.user_id AND m.until IS NULL OFFSET 0)
    )
    SELECT m.user_id, m.ref, m.membership, m.sort_name, m.displayname, m.avatar_url, cut.version, cut.version < list.version, list.complete,
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM list CROSS JOIN cut LEFT JOIN change m ON true
)sql"};

const Statement get_users{"member_rows_get_users", R"sql(
    SELECT user_id FROM member WHERE room = $1::bigint AND user_id > $2::text AND until IS NULL ORDER BY user_id LIMIT $3::bigint
)sql"};

Member read_row(const Rows& rows, std::size_t row) {
    Member member;
    member.user = UserId{std::string(rows.text(row, 0))};
    member.ref = EventRef{rows.bigint(row, 1)};
    member.membership = Membership{rows.smallint(row, 2)};
    member.sort_name = rows.text(row, 3);
    member.displayname = rows.maybe_text(row, 4);
    member.avatar_url = rows.maybe_text(row, 5);
    return member;
}

}  // namespace

Task<std::vector<std::pair<RoomKey, Member>>> PostgresMembers::members_of(std::vector<std::pair<RoomKey, std::string>> pairs) {
    std::vector<std::int64_t> rooms;
    std::vector<std::string> users;
    for (auto& [room, user] : pairs) {
        rooms.push_back(room.value);
        users.push_back(std::move(user));
    }
    Params params;
    params.bigints(rooms).texts(users);
    Query query = database_.run(get_pairs, std::move(params));
    Rows rows = co_await query;
    std::vector<std::pair<RoomKey, Member>> members;
    for (std::size_t row = 0; row < rows.size(); ++row) members.emplace_back(RoomKey{rows.bigint(row, 6)}, read_row(rows, row));
    co_return members;
}

Task<MemberListEnd> PostgresMembers::member_list(RoomKey room) {
    Params params;
    params.bigint(room.value);
    Query query = database_.run(get_list, std::move(params));
    Rows rows = co_await query;
    MemberListEnd end;
    end.version = rows.bigint(0, 0);
    end.complete = rows.boolean(0, 1);
    end.now = rows.bigint(0, 2);
    co_return end;
}

Task<MemberChanges> PostgresMembers::member_changes(RoomKey room, std::int64_t after) {
    Params params;
    params.bigint(room.value).bigint(after).bigint(changes_at_once);
    Query query = database_.run(get_changes, std::move(params));
    Rows rows = co_await query;
    MemberChanges changes;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        changes.end = {rows.bigint(row, 6), rows.boolean(row, 8), rows.bigint(row, 9)};
        changes.more = rows.boolean(row, 7);
        if (rows.is_null(row, 0)) continue;
        if (rows.is_null(row, 1)) {
            changes.gone.push_back(UserId{std::string(rows.text(row, 0))});
        } else {
            changes.rows.push_back(read_row(rows, row));
        }
    }
    co_return changes;
}

Task<MembersAt> PostgresMembers::members_at(RoomKey room, std::int64_t version, Memberships memberships, MemberStart after, int most,
                                            std::vector<std::string> named) {
    std::vector<std::int64_t> numbers;
    for (Membership membership : memberships) numbers.push_back(static_cast<std::int64_t>(membership));
    Params params;
    params.bigint(room.value).bigint(version).bigints(numbers).text(after.user).bigint(most).texts(named);
    after.sort_name ? params.text(*after.sort_name) : params.null();
    Query query = database_.run(get_at, std::move(params));
    Rows rows = co_await query;
    MembersAt members;
    for (std::size_t row = 0; row < rows.size(); ++row)
        (rows.boolean(row, 6) ? members.named : members.next).push_back(read_row(rows, row));
    co_return members;
}

/// Of the users who have a row, those that are not listed.
Task<std::vector<std::string>> PostgresMembers::unlisted(RoomKey room, std::vector<std::string> listed) {
    std::ranges::sort(listed);
    std::vector<std::string> found;
    std::string last;
    for (;;) {
        Params params;
        params.bigint(room.value).text(last).bigint(users_at_once);
        Query query = database_.run(get_users, std::move(params));
        Rows rows = co_await query;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            last = rows.text(row, 0);
            if (!std::ranges::binary_search(listed, last)) found.push_back(last);
        }
        if (rows.size() < static_cast<std::size_t>(users_at_once)) co_return found;
    }
}

}  // namespace matrix_sync
