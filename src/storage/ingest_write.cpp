// What a transaction adds to the devices: entries, parts set aside, and with the end of an answer all that is not rooms. Nothing here is
// awaited: whatever fails makes the commit fail.
#include <algorithm>

#include "storage/ingest.hpp"
#include "storage/log_rows.hpp"
#include "storage/room_rows.hpp"

namespace matrix_sync {
namespace {

constexpr std::size_t most_given = 200;
/// Of what one statement stores, so that no more of it is on its way at once.
constexpr std::size_t most_sent_at_once = 1024 * 1024;

const Statement insert_aside{"ingest_insert_aside", R"sql(
    INSERT INTO set_aside (device, room_id, part, section, since, raw, reason)
    VALUES ($1::bigint, $2::text, $3::bigint, $4::smallint, $5::text, $6::bytea, $7::text)
)sql"};

const Statement delete_aside{"ingest_delete_aside", R"sql(
    DELETE FROM set_aside WHERE device = $1::bigint AND room_id = $2::text AND part = ANY ($3::bigint[])
)sql"};

// Rooms that the device is in, or invited to, and that the answer whose first number comes after $2 has not listed.
const Statement get_unlisted{"ingest_get_unlisted", "SELECT " MATRIX_SYNC_ENTRY_COLUMNS R"sql(
    FROM (SELECT DISTINCT ON (room) * FROM log WHERE device = $1::bigint ORDER BY room, seq DESC) AS l
    JOIN room r ON r.id = l.room
    WHERE l.section <> 2 AND l.seq <= $2::bigint
      AND NOT EXISTS (SELECT FROM set_aside s WHERE s.device = $1::bigint AND s.room_id = r.room_id AND s.part > $2::bigint)
    ORDER BY l.seq
)sql"};

// What was set aside of rooms that the answer does not list.
const Statement forget_unlisted{"ingest_forget_unlisted", R"sql(
    DELETE FROM set_aside WHERE device = $1::bigint AND part <= $2::bigint AND room_id <> ALL ($3::text[])
)sql"};

const Statement insert_to_device{"ingest_insert_to_device", R"sql(
    INSERT INTO to_device (device, seq, body)
    SELECT $1::bigint, w.seq, w.body FROM unnest($2::bigint[], $3::bytea[]) AS w (seq, body)
)sql"};

const Statement put_device_lists{"ingest_put_device_lists", R"sql(
    INSERT INTO device_list (device, user_id, seq, gone)
    SELECT $1::bigint, w.user_id, w.seq, w.gone FROM unnest($2::text[], $3::bigint[], $4::boolean[]) AS w (user_id, seq, gone)
    ON CONFLICT (device, user_id) DO UPDATE SET seq = excluded.seq, gone = excluded.gone
)sql"};

const Statement put_account_data{"ingest_put_account_data", R"sql(
    INSERT INTO account_data (device, type, seq, body)
    SELECT $1::bigint, w.type, w.seq, w.body FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS w (type, seq, body)
    ON CONFLICT (device, type) DO UPDATE SET seq = excluded.seq, body = excluded.body
)sql"};

const Statement put_key_counts{"ingest_put_key_counts", R"sql(
    UPDATE device SET one_time_keys_count = $2::text, unused_fallback_key_types = $3::text, keys_seq = $4::bigint WHERE id = $1::bigint
)sql"};

const Statement advance{"ingest_advance", R"sql(
    UPDATE device SET seq = w.seq, since_seq = coalesce(nullif(w.since_seq, 0), device.since_seq), since = coalesce(w.since, device.since)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS w (id, seq, since_seq, since)
    WHERE device.id = w.id
)sql"};

}  // namespace

Task<void> Ingestion::write() {
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        if (!live(i)) continue;
        const LogStore::Piece& piece = deliveries_[i]->piece;
        co_await write_rooms(i);
        if (piece.rest && !piece.from) co_await leave_omitted(i);
        if (piece.rest) co_await write_rest(i, *piece.rest);
        end_delivery(i);
    }
    put_results();
    co_await write_member_lists();
}

void Ingestion::end_delivery(std::size_t delivery) {
    const LogStore::Piece& piece = deliveries_[delivery]->piece;
    DeviceEnd& end = end_of(delivery);
    News& news = results_[delivery].news;
    for (auto& [key, row] : end.rooms) news.rooms.push_back(std::move(row));
    std::ranges::sort(news.rooms, {}, &RoomRow::seq);
    news.to = end.seq;
    news.whole = end.whole || piece.rest;
}

/// One statement a table for all deliveries.
void Ingestion::put_results() {
    std::vector<DeviceEntry> entries;
    std::vector<DeviceRoom> rooms;
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        if (!live(i)) continue;
        results_[i].redacted = std::exchange(redacted_, {});  // whoever is told of it tells everybody
        const DeviceKey device = deliveries_[i]->piece.lease.device;
        for (const Entry& entry : results_[i].news.entries) entries.push_back({device, &entry});
        for (const RoomRow& row : results_[i].news.rooms) rooms.push_back({device, &row});
    }
    put_entries(sending_, entries);
    put_rooms(sending_, rooms);
    put_receipts();
    put_room_account_data();
    put_device_ends();
}

void Ingestion::put_device_ends() {
    std::vector<std::int64_t> devices, seqs, since_seqs;
    std::vector<std::optional<std::string>> since;
    for (std::size_t i = 0; i < deliveries_.size(); ++i) {
        if (!live(i)) continue;
        const LogStore::Piece& piece = deliveries_[i]->piece;
        const News& news = results_[i].news;
        if (!piece.rest && news.to == news.from) continue;
        // No answer is under way: nothing of what was set aside will be repeated.
        const bool between_answers = deliveries_[i]->retry && end_of(i).since_seq == news.from;
        devices.push_back(piece.lease.device.value);
        seqs.push_back(news.to.value);
        since_seqs.push_back(piece.rest || between_answers ? news.to.value : 0);
        since.push_back(piece.rest ? std::optional(piece.rest->next_batch) : std::nullopt);
    }
    if (devices.empty()) return;
    Params params;
    params.bigints(devices).bigints(seqs).bigints(since_seqs).texts(since);
    sending_.send(advance, std::move(params));
}

Position Ingestion::next_position(std::size_t delivery) {
    return Position{++end_of(delivery).seq.value};
}

Task<void> Ingestion::write_rooms(std::size_t delivery) {
    for (RoomWork& work : works_) {
        if (work.delivery != delivery) continue;
        for (const Step& step : work.steps) {
            if (slices_.over(step.part->raw.size())) co_await slices_.pause();
        }
        if (work.members_only) {
            change_members(work);
            continue;
        }
        std::vector<std::int64_t> done = work.aside;
        if (!work.failure.empty()) {
            set_aside(work);
            done = work.superseded;
        } else {
            change_row(work, write_entries(work));
            give_inserted(work);
        }
        if (done.empty()) continue;
        Params params;
        params.bigint(deliveries_[delivery]->piece.lease.device.value).text(work.room.value).bigints(done);
        sending_.send(delete_aside, std::move(params));
    }
}

/// Gives the last one's number; 0 when there is none.
Position Ingestion::write_entries(RoomWork& work) {
    Position last;
    for (const Entry& entry : work.entries) last = write_entry(work.delivery, entry);
    return last;
}

/// What is new to those who wait. A first answer, or one after a long time, is more than anybody looks at.
void Ingestion::give_inserted(const RoomWork& work) {
    if (inserted_.empty() || inserted_.size() > most_given || stray(work)) return;
    for (const Step& step : work.steps) {
        if (step.first) continue;
        for (const Event& event : step.part->timeline) {
            const KnownEvent& stored = events_.at(event.event_id.value);
            if (!inserted_.erase(stored.ref)) continue;
            results_[work.delivery].stored.push_back(
                {stored.ref, event.event_id, stored.room, event.type, event.state_key, event.sender, event.origin_server_ts, event.body});
        }
    }
}

/// Behind everything else: the locks of member lists are the last in their order.
Task<void> Ingestion::write_member_lists() {
    std::vector<MemberFacts> rooms = std::move(redacted_members_);
    // Whoever has facts has sent statements, and had their answers, since the time was read.
    const ClockReading clock{time_, loop_.now()};
    for (const RoomWork& work : works_) {
        if (!live(work.delivery) || !work.failure.empty() || stray(work)) continue;
        MemberFacts room;
        room.room = work.key;
        auto ref_of = [&](const EventId& id) {
            auto found = events_.find(id.value);
            const bool known = found != events_.end() && found->second.room == work.key;
            return known ? std::optional(found->second.ref) : std::nullopt;
        };
        for (const Step& step : work.steps) {
            if (slices_.over(step.part->raw.size())) co_await slices_.pause();
            const Instant asked = deliveries_[work.delivery]->piece.asked;
            const Said said{step.aside ? Microseconds{0} : clock.at_earliest(asked), time_};
            for (MemberFact& fact : member_facts(*step.part, said, ref_of)) room.facts.push_back(std::move(fact));
        }
        for (const Entry& entry : work.entries) {
            if (entry.gap && entry.section == Section::join) room.gap = time_;
        }
        if (!room.facts.empty() || room.gap) rooms.push_back(std::move(room));
    }
    if (!rooms.empty()) co_await write_members(sending_, std::move(rooms));
}

void Ingestion::set_aside(RoomWork& work) {
    const Delivery& delivery = *deliveries_[work.delivery];
    const std::string& name = end_of(work.delivery).name;
    if (delivery.retry) {
        lines_.push_back(name + ": room " + work.room.value + " stays set aside: " + work.failure);
        return;
    }
    for (const Step& step : work.steps) {
        if (step.aside) continue;
        Params params;
        params.bigint(delivery.piece.lease.device.value).text(work.room.value).bigint(next_position(work.delivery).value);
        params.smallint(static_cast<std::int16_t>(step.part->section)).text(delivery.piece.from).bytes(step.part->raw).text(work.failure);
        sending_.send(insert_aside, std::move(params));
    }
    if (work.without_state) results_[work.delivery].without_state.push_back(work.room);
    if (!work.aside.empty()) return;  // that has been said
    lines_.push_back(name + ": room " + work.room.value + " is set aside and tried again with its next part: " + work.failure);
}

Position Ingestion::write_entry(std::size_t delivery, Entry entry) {
    entry.seq = next_position(delivery);
    results_[delivery].news.entries.push_back(std::move(entry));
    return results_[delivery].news.entries.back().seq;
}

/// An answer without `since` is the whole truth.
Task<void> Ingestion::leave_omitted(std::size_t delivery) {
    const LogStore::Piece& piece = deliveries_[delivery]->piece;
    const Position began = piece.began.value_or(end_of(delivery).since_seq);
    const std::int64_t device = piece.lease.device.value;
    std::set<RoomId> listed;
    std::vector<std::string> names;
    for (const RoomPart& part : piece.rooms) {
        if (listed.insert(part.room).second) names.push_back(part.room.value);
    }
    Params forgotten;
    forgotten.bigint(device).bigint(began.value).texts(names);
    sending_.send(forget_unlisted, std::move(forgotten));
    Params params;
    params.bigint(device).bigint(began.value);
    Query query = sending_.ask(get_unlisted, std::move(params));
    Rows rows = co_await query;
    std::map<RoomKey, Position> left;
    for (const Entry& live : read_entries(rows)) {
        if (!listed.contains(live.room)) left[live.room_key] = write_entry(delivery, omitted_entry(live, piece.rest->next_batch));
    }
    co_await leave_rows(delivery, left);
}

Task<void> Ingestion::write_rest(std::size_t delivery, const AnswerRest& rest) {
    co_await change_listed(delivery, rest);
    co_await write_to_device(delivery, rest);
    write_device_lists(delivery, rest);
    co_await write_account_data(delivery, rest);
    write_key_counts(delivery, rest);
}

Task<void> Ingestion::write_to_device(std::size_t delivery, const AnswerRest& rest) {
    durable_ = durable_ || !rest.to_device.empty();
    std::vector<std::int64_t> seqs;
    std::vector<std::string> bodies;
    std::size_t bytes = 0;
    auto send = [&] {
        Params params;
        params.bigint(deliveries_[delivery]->piece.lease.device.value).bigints(seqs).bytess(bodies);
        sending_.send(insert_to_device, std::move(params));
        seqs.clear();
        bodies.clear();
        bytes = 0;
    };
    for (const std::string& body : rest.to_device) {
        const Position seq = next_position(delivery);
        seqs.push_back(seq.value);
        bodies.push_back(body);
        bytes += body.size();
        results_[delivery].news.to_device.push_back({seq, body});
        if (bytes < most_sent_at_once) continue;
        send();
        co_await sending_.settled();
    }
    if (!bodies.empty()) send();
}

void Ingestion::write_device_lists(std::size_t delivery, const AnswerRest& rest) {
    std::map<UserId, bool> users;
    for (const UserId& user : rest.device_lists_changed) users[user] = false;
    for (const UserId& user : rest.device_lists_left) users[user] = true;
    if (users.empty()) return;
    durable_ = true;
    std::vector<std::string> names;
    std::vector<std::int64_t> seqs;
    std::vector<bool> gone;
    for (const auto& [user, left] : users) {
        const Position seq = next_position(delivery);
        names.push_back(user.value);
        seqs.push_back(seq.value);
        gone.push_back(left);
        results_[delivery].news.device_lists.push_back({seq, user, left});
    }
    Params params;
    params.bigint(deliveries_[delivery]->piece.lease.device.value).texts(names).bigints(seqs).booleans(gone);
    sending_.send(put_device_lists, std::move(params));
}

Task<void> Ingestion::write_account_data(std::size_t delivery, const AnswerRest& rest) {
    std::map<std::string, const std::string*> newest;
    for (const AnswerRest::AccountData& event : rest.account_data) newest[event.type] = &event.body;
    std::vector<std::string> types;
    std::vector<std::int64_t> seqs;
    std::vector<std::string> bodies;
    std::size_t bytes = 0;
    auto send = [&] {
        Params params;
        params.bigint(deliveries_[delivery]->piece.lease.device.value).texts(types).bigints(seqs).bytess(bodies);
        sending_.send(put_account_data, std::move(params));
        types.clear();
        seqs.clear();
        bodies.clear();
        bytes = 0;
    };
    for (const auto& [type, body] : newest) {
        const Position seq = next_position(delivery);
        types.push_back(type);
        seqs.push_back(seq.value);
        bodies.push_back(*body);
        bytes += body->size();
        results_[delivery].news.account_data.push_back({seq, type, *body});
        if (bytes < most_sent_at_once) continue;
        send();
        co_await sending_.settled();
    }
    if (!bodies.empty()) send();
}

/// What an answer leaves out is as it was before.
void Ingestion::write_key_counts(std::size_t delivery, const AnswerRest& rest) {
    KeyCounts& counts = end_of(delivery).counts;
    KeyCounts now = counts;
    if (rest.one_time_keys_count) now.one_time_keys_count = rest.one_time_keys_count;
    if (rest.unused_fallback_key_types) now.unused_fallback_key_types = rest.unused_fallback_key_types;
    bool same = now.one_time_keys_count == counts.one_time_keys_count && now.unused_fallback_key_types == counts.unused_fallback_key_types;
    if (same) return;
    counts = now;
    counts.seq = next_position(delivery);
    results_[delivery].news.key_counts = counts;
    Params params;
    params.bigint(deliveries_[delivery]->piece.lease.device.value).text(counts.one_time_keys_count).text(counts.unused_fallback_key_types);
    params.bigint(counts.seq.value);
    sending_.send(put_key_counts, std::move(params));
}

}  // namespace matrix_sync
