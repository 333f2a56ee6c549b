#include "storage/state_sets.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>

#include "storage/array_text.hpp"
#include "storage/unused.hpp"

namespace matrix_sync {
namespace {

const Statement get_state{"state_get", R"sql(
    SELECT s.id, e.ref, e.type, e.state_key
    FROM unnest($1::bigint[]) AS wanted (id)
    JOIN room_state s ON s.id = wanted.id
    LEFT JOIN room_state p ON p.id = s.parent
    CROSS JOIN LATERAL (
        SELECT unnest(s.refs)
        UNION ALL
        (SELECT unnest(p.refs) EXCEPT SELECT unnest(s.gone))
    ) AS member (ref)
    JOIN event e ON e.ref = member.ref
)sql"};

const Statement get_roots{"state_get_roots", R"sql(
    SELECT s.id, coalesce(p.id, s.id), coalesce(p.refs, s.refs)
    FROM room_state s LEFT JOIN room_state p ON p.id = s.parent
    WHERE s.id = ANY ($1::bigint[])
)sql"};

const Statement insert_sets{"state_insert", R"sql(
    INSERT INTO room_state (room, hash, parent, refs, gone, heads)
    SELECT w.room, w.hash, nullif(w.parent, 0), w.refs::bigint[], w.gone::bigint[], w.heads::bigint[]
    FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::text[]) AS w (room, hash, parent, refs, gone, heads)
    ON CONFLICT (room, hash) DO NOTHING
)sql"};

const Statement find_sets{"state_find", R"sql(
    SELECT s.id, s.room, s.hash, s.unused
    FROM unnest($1::bigint[], $2::bytea[]) AS wanted (room, hash)
    JOIN room_state s ON s.room = wanted.room AND s.hash = wanted.hash
)sql"};

std::string hash_of(const std::vector<EventRef>& refs) {
    std::string bytes;
    bytes.reserve(8 * refs.size());
    for (EventRef ref : refs) {
        for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(ref.value >> shift & 0xff);
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1) throw std::runtime_error("SHA-256 failed");
    return {reinterpret_cast<const char*>(digest), size};
}

struct Hashed {
    RoomKey room;
    std::string hash;
    std::size_t index;  ///< in what was asked for
    std::vector<EventRef> refs;
};

/// In their order.
void insert(Sending& sending, const std::vector<Hashed>& sets, const std::vector<NewState>& states) {
    std::vector<std::int64_t> rooms, parents;
    std::vector<std::string> hashes, refs, heads;
    std::vector<std::optional<std::string>> gone;
    for (const Hashed& set : sets) {
        const NewState& state = states[set.index];
        const StoredState stored = pack_state(set.refs, state.root);
        const StateHeads named = heads_of(state.state);
        const std::vector<EventRef> head_refs = {named.name, named.canonical_alias, named.avatar, named.encryption};
        rooms.push_back(set.room.value);
        hashes.push_back(set.hash);
        parents.push_back(stored.parent.value);
        refs.push_back(array_text(stored.refs));
        gone.push_back(stored.parent ? std::optional(array_text(stored.gone)) : std::nullopt);
        heads.push_back(array_text(head_refs));
    }
    Params params;
    params.bigints(rooms).bytess(hashes).bigints(parents).texts(refs).texts(gone).texts(heads);
    sending.send(insert_sets, std::move(params));
}

}  // namespace

template <class Run>
Task<std::map<StateKey, LoadedState>> load_states(Run& run, std::vector<StateKey> keys) {
    std::map<StateKey, LoadedState> states;
    if (keys.empty()) co_return states;
    std::vector<std::int64_t> ids;
    for (StateKey key : keys) ids.push_back(key.value);
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());

    Params wanted;
    wanted.bigints(ids);
    Query roots_query = run.run(get_roots, wanted);
    Query states_query = run.run(get_state, wanted);
    Rows roots = co_await roots_query;
    for (std::size_t row = 0; row < roots.size(); ++row) {
        StateRoot& root = states[StateKey{roots.bigint(row, 0)}].root;
        root.key = StateKey{roots.bigint(row, 1)};
        for (std::int64_t ref : roots.bigints(row, 2)) root.refs.push_back(EventRef{ref});
    }
    Rows rows = co_await states_query;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        StateName name{std::string(rows.text(row, 2)), rows.maybe_text(row, 3).value_or("")};
        states[StateKey{rows.bigint(row, 0)}].state.emplace(std::move(name), EventRef{rows.bigint(row, 1)});
    }
    co_return states;
}

template Task<std::map<StateKey, LoadedState>> load_states(Database&, std::vector<StateKey>);
template Task<std::map<StateKey, LoadedState>> load_states(Transaction&, std::vector<StateKey>);

StateHeads read_heads(const std::vector<std::int64_t>& refs) {
    if (refs.size() != 4) return {};
    return {EventRef{refs[0]}, EventRef{refs[1]}, EventRef{refs[2]}, EventRef{refs[3]}};
}

Task<std::vector<StateKey>> intern_states(Sending& sending, std::vector<NewState> states) {
    std::vector<StateKey> keys(states.size());
    if (states.empty()) co_return keys;
    std::vector<Hashed> sets;
    for (std::size_t i = 0; i < states.size(); ++i) {
        std::vector<EventRef> refs = sorted_refs(states[i].state);
        std::string hash = hash_of(refs);
        sets.push_back({states[i].room, std::move(hash), i, std::move(refs)});
    }
    // In one order, whoever inserts: two that meet wait for each other one way only.
    std::ranges::sort(sets, {}, [](const Hashed& set) { return std::tie(set.room, set.hash); });
    std::vector<std::int64_t> rooms;
    std::vector<std::string> hashes;
    for (const Hashed& set : sets) {
        rooms.push_back(set.room.value);
        hashes.push_back(set.hash);
    }
    std::map<std::pair<std::int64_t, std::string>, StateKey> found;
    for (bool again = true; again;) {
        insert(sending, sets, states);
        Params wanted;
        wanted.bigints(rooms).bytess(hashes);
        Query query = sending.ask(find_sets, std::move(wanted));
        Rows rows = co_await query;
        std::vector<std::int64_t> unused;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            found[{rows.bigint(row, 1), std::string(rows.text(row, 2))}] = StateKey{rows.bigint(row, 0)};
            if (rows.boolean(row, 3)) unused.push_back(rows.bigint(row, 0));
        }
        if (!unused.empty()) use_states(sending, unused);
        again = !unused.empty();
    }
    for (const Hashed& set : sets) keys[set.index] = found.at({set.room.value, set.hash});
    co_return keys;
}

}  // namespace matrix_sync
