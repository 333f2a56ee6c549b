#include "storage/unused.hpp"

namespace matrix_sync {

namespace {

const Statement use_rooms_statement{"unused_use_rooms", R"sql(
    UPDATE room SET unused = false
    WHERE id IN (SELECT id FROM room WHERE room_id = ANY ($1::text[]) AND unused ORDER BY room_id FOR UPDATE)
)sql"};

const Statement use_events_statement{"unused_use_events", R"sql(
    UPDATE event SET unused = false
    WHERE ref IN (SELECT ref FROM event WHERE event_id = ANY ($1::text[]) AND unused ORDER BY event_id FOR UPDATE)
)sql"};

const Statement use_states_statement{"unused_use_states", R"sql(
    UPDATE room_state SET unused = false
    WHERE id IN (SELECT id FROM room_state WHERE id = ANY ($1::bigint[]) AND unused ORDER BY room, hash FOR UPDATE)
)sql"};

}  // namespace

void use_rooms(Sending& sending, const std::vector<std::string>& room_ids) {
    sending.send(use_rooms_statement, std::move(Params().texts(room_ids)));
}

void use_events(Sending& sending, const std::vector<std::string>& event_ids) {
    sending.send(use_events_statement, std::move(Params().texts(event_ids)));
}

void use_states(Sending& sending, const std::vector<std::int64_t>& states) {
    sending.send(use_states_statement, std::move(Params().bigints(states)));
}

}  // namespace matrix_sync
