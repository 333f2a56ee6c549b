#include "core/devices/fetch.hpp"

#include <algorithm>

#include "core/json/value.hpp"
#include "core/shared_work.hpp"

namespace matrix_sync {

namespace {

constexpr const char* kNoErrcode = "M_UNKNOWN";
constexpr Milliseconds kMostWait{3'600'000};

template <class T>
std::optional<T> field(const Json& object, const char* key) {
    auto found = object.find(key);
    if (found == object.end()) return std::nullopt;
    try {
        return found->get<T>();
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

}  // namespace

std::string percent_encoded(std::string_view text) {
    static constexpr char digits[] = "0123456789ABCDEF";
    std::string out;
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '-' ||
                     byte == '.' || byte == '_' || byte == '~';
        if (plain) {
            out.push_back(c);
        } else {
            out.push_back('%');
            out.push_back(digits[byte >> 4]);
            out.push_back(digits[byte & 15]);
        }
    }
    return out;
}

Task<std::string> read_all(Loop& loop, Exchange& exchange, std::size_t most) {
    std::string body;
    for (;;) {
        std::string_view bytes = co_await within(loop, kReadLimit, exchange.read());
        if (bytes.empty()) co_return body;
        body += bytes;
        if (body.size() > most) throw HomeserverNonsense("an answer longer than " + std::to_string(most) + " bytes");
    }
}

Task<Fetched> fetch(Loop& loop, Homeserver& homeserver, Call call, Milliseconds limit, std::size_t most) {
    auto exchange = homeserver.get(call);
    if (!exchange) throw no_connections_to_spare();
    Fetched fetched;
    fetched.head = co_await within(loop, limit, exchange->head());
    fetched.body = co_await read_all(loop, *exchange, most);
    co_return fetched;
}

bool refuses_token(int status, std::string_view body) {
    return status == 401 && passed_on(status, body).errcode != kNoErrcode;
}

MatrixError no_connections_to_spare() {
    MatrixError busy(429, "M_LIMIT_EXCEEDED", "This server has no connections to spare");
    busy.retry_after = Milliseconds{5'000};
    return busy;
}

MatrixError passed_on(int status, std::string_view body) {
    Json object = Json::object();
    try {
        object = parse_body(body);
    } catch (const MatrixError&) {
        // No Matrix error, then; the status says enough.
    }
    MatrixError error(status, field<std::string>(object, "errcode").value_or(kNoErrcode), field<std::string>(object, "error").value_or(""));
    error.soft_logout = field<bool>(object, "soft_logout");
    if (auto wait = field<std::int64_t>(object, "retry_after_ms"))
        error.retry_after = std::clamp(Milliseconds(*wait), Milliseconds{0}, kMostWait);
    return error;
}

}  // namespace matrix_sync
