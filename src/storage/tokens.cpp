// A token's row says which device it belongs to, and when the homeserver last said so.
#include "storage/tokens.hpp"

#include <openssl/evp.h>

#include <stdexcept>

namespace matrix_sync {

namespace {

const Statement get_token{"token_get", R"sql(
    SELECT device.id, user_id, device_id, coalesce(owner, 0), seq, since IS NOT NULL,
           greatest((extract(epoch FROM now() - verified) * 1000)::bigint, 0)
    FROM token JOIN device ON device.id = token.device
    WHERE hash = $1::bytea
)sql"};

// A client that refreshes its token leaves the old ones behind; one that is forgotten too early only has to be verified again.
const Statement set_token{"token_set", R"sql(
    WITH stale AS (
        DELETE FROM token WHERE hash IN (
            SELECT hash FROM token
            WHERE device = $2::bigint AND hash <> $1::bytea AND verified < now() - interval '7 days'
            FOR UPDATE SKIP LOCKED
        )
    ), used AS (
        UPDATE device SET used = now() WHERE id = $2::bigint
    )
    INSERT INTO token (hash, device) SELECT $1::bytea, id FROM device WHERE id = $2::bigint
    ON CONFLICT (hash) DO UPDATE SET device = excluded.device, verified = excluded.verified
)sql"};

const Statement delete_token{"token_delete", R"sql(
    DELETE FROM token WHERE hash = $1::bytea
)sql"};

std::string sha256(const std::string& text) {
    std::string digest(EVP_MAX_MD_SIZE, '\0');
    unsigned int size = 0;
    auto* out = reinterpret_cast<unsigned char*>(digest.data());
    if (EVP_Digest(text.data(), text.size(), out, &size, EVP_sha256(), nullptr) != 1) throw std::runtime_error("SHA-256 is not available");
    digest.resize(size);
    return digest;
}

}  // namespace

Task<std::optional<TokenStore::Known>> PostgresTokens::token(const std::string& access_token) {
    Rows rows = co_await database_.run(get_token, Params().bytes(sha256(access_token)));
    if (rows.empty()) co_return std::nullopt;

    Known known;
    known.row.key = DeviceKey{rows.bigint(0, 0)};
    known.row.user = UserId(std::string(rows.text(0, 1)));
    known.row.device = DeviceId(std::string(rows.text(0, 2)));
    known.row.owner = WorkerKey{rows.bigint(0, 3)};
    known.row.end = Position{rows.bigint(0, 4)};
    known.row.whole = rows.boolean(0, 5);
    known.age = Milliseconds{rows.bigint(0, 6)};
    co_return known;
}

Task<void> PostgresTokens::remember_token(const std::string& access_token, DeviceKey device) {
    co_await database_.run(set_token, Params().bytes(sha256(access_token)).bigint(device.value));
}

Task<void> PostgresTokens::forget_token(const std::string& access_token) {
    co_await database_.run(delete_token, Params().bytes(sha256(access_token)));
}

}  // namespace matrix_sync
