// Small answers of the homeserver, read whole, and what their errors mean to a client.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// Between two parts of an answer.
inline constexpr Milliseconds kReadLimit{60'000};

struct Fetched {
    Exchange::Head head;
    std::string body;
};

/// Text as one part of a path or query: everything but RFC 3986's unreserved characters is escaped.
std::string percent_encoded(std::string_view text);

/// The rest of an answer. Throws HomeserverUnavailable, or HomeserverNonsense when it is longer than `most` bytes.
Task<std::string> read_all(Loop& loop, Exchange& exchange, std::size_t most);

/// Throws HomeserverUnavailable also when no answer has begun within the limit, and MatrixError 429 when the worker has no connections to
/// spare.
Task<Fetched> fetch(Loop& loop, Homeserver& homeserver, Call call, Milliseconds limit, std::size_t most);

/// Whether a 401 is the homeserver's word about the token, and not some proxy's page: only that ends a token (rule 5).
bool refuses_token(int status, std::string_view body);

/// 429 M_LIMIT_EXCEEDED.
MatrixError no_connections_to_spare();

/// An error of the homeserver as the client shall see it: status, errcode, error, soft_logout and retry_after_ms as they came.
MatrixError passed_on(int status, std::string_view body);

}  // namespace matrix_sync
