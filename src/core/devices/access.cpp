#include "core/devices/access.hpp"

#include <algorithm>

#include "core/devices/fetch.hpp"
#include "core/json/text.hpp"
#include "core/json/value.hpp"

namespace matrix_sync {

namespace {

/// A token that is polled with proves itself all the time; the others are asked about this often.
constexpr Milliseconds kRecheck{300'000};
constexpr Milliseconds kAskAgain{30'000};
constexpr Milliseconds kRefusalHolds{30'000};
constexpr Milliseconds kWhoamiLimit{30'000};
/// What strangers can make a worker do and remember.
constexpr std::size_t kMostAsked = 100;
constexpr std::size_t kMostKnown = 100'000;
constexpr std::size_t kMostKnownBytes = 16 * 1024 * 1024;
constexpr Milliseconds kRetryAfter{2'000};
constexpr std::size_t kMostBody = 64 * 1024;
constexpr std::size_t kMostIdLength = 255;

bool is_id(const std::string& text) {
    return !text.empty() && text.size() <= kMostIdLength && is_storable(text);
}

MatrixError busy() {
    MatrixError error(429, "M_LIMIT_EXCEEDED", "Too many access tokens are being checked");
    error.retry_after = kRetryAfter;
    return error;
}

struct Asked {
    explicit Asked(std::size_t& asked) : count(asked) { ++count; }
    Asked(const Asked&) = delete;
    Asked& operator=(const Asked&) = delete;
    ~Asked() { --count; }
    std::size_t& count;
};

MatrixError unreachable(const std::string& why) {
    return {502, "M_UNKNOWN", "The homeserver cannot be reached: " + why};
}

}  // namespace

Task<DeviceRow> Access::check(std::string token, Client client, std::shared_ptr<Homeserver> homeserver) {
    if (const MatrixError* why = refusal(token)) throw *why;
    if (!known_.contains(token)) make_room(token.size());
    Known& known = known_[token];
    if (known.row.key && loop_.now() - known.verified < kRecheck) co_return known.row;
    DeviceRow as_last_heard = known.row;
    if (!known.asking || known.asking->ended()) {
        known.asking = std::make_shared<SharedWork<DeviceRow>>(loop_);
        auto asking = known.asking;
        asking->start(ask(token, std::move(client), std::move(homeserver)));
    }
    // Whoever is known need not wait for the homeserver to say so again.
    if (as_last_heard.key) co_return as_last_heard;
    auto asking = known_[token].asking;
    co_return co_await SharedWork<DeviceRow>::result(asking);
}

/// Refused tokens are remembered as long as there is room for them.
void Access::make_room(std::size_t bytes) {
    new_bytes_ += bytes;
    if (known_.size() < kMostKnown && new_bytes_ <= kMostKnownBytes) return;
    new_bytes_ = bytes;
    std::erase_if(known_, [](const auto& item) {
        const Known& known = item.second;
        return !known.row.key && (!known.asking || known.asking->ended());
    });
    if (known_.size() >= kMostKnown) throw busy();
}

Task<DeviceRow> Access::ask(std::string token, Client client, std::shared_ptr<Homeserver> homeserver) {
    auto stored = co_await tokens_.token(token);
    if (stored) {
        // Memory may know of a later word than the store, though not to whom it was about.
        Known& known = known_[token];
        Instant verified = std::max(known.verified, loop_.now() - stored->age);
        if (verified > Instant{} && loop_.now() - verified < kRecheck) {
            known.row = stored->row;
            known.verified = verified;
            co_return stored->row;
        }
    }
    std::optional<MatrixError> trouble;
    std::optional<MatrixError> refused;
    try {
        DeviceRow row = co_await whoami(token, std::move(client), std::move(homeserver));
        co_await tokens_.remember_token(token, row.key);
        Known& known = known_[token];
        known.row = row;
        known.verified = loop_.now();
        co_return row;
    } catch (const MatrixError& error) {
        if (error.status == 401 || error.status == 403) {
            refused = error;
        } else if (error.status != 429 && error.status != 502) {
            throw;
        } else {
            trouble = error;
        }
    }
    if (refused) {
        co_await refuse(token, *refused);
        throw *refused;
    }
    // Whom it was of is known, and the homeserver has not said otherwise.
    if (!stored) throw *trouble;
    Known& known = known_[token];
    known.row = stored->row;
    known.verified = loop_.now() - kRecheck + kAskAgain;
    co_return stored->row;
}

Task<DeviceRow> Access::whoami(const std::string& token, Client client, std::shared_ptr<Homeserver> homeserver) {
    if (asked_ >= kMostAsked) throw busy();
    Asked asked(asked_);
    Call call{"/_matrix/client/v3/account/whoami", token, std::move(client)};
    std::optional<Fetched> fetched;
    try {
        fetched = co_await fetch(loop_, *homeserver, std::move(call), kWhoamiLimit, kMostBody);
    } catch (const HomeserverUnavailable& error) {
        throw unreachable(error.what());
    } catch (const HomeserverNonsense& error) {
        throw unreachable(error.what());
    }
    int status = fetched->head.status;
    if (!fetched->head.from_homeserver) throw unreachable("nginx answered " + std::to_string(status));
    if (status >= 500) throw unreachable("it answered " + std::to_string(status));
    if (refuses_token(status, fetched->body) || status == 403 || status == 429) throw passed_on(status, fetched->body);
    if (status != 200) throw unreachable("its whoami answered " + std::to_string(status));
    Json who;
    try {
        who = parse_body(fetched->body);
    } catch (const MatrixError&) {
        throw unreachable("its whoami is no JSON object");
    }
    auto text = [&](const char* key) { return who.contains(key) && who[key].is_string() ? who[key].get<std::string>() : std::string(); };
    UserId user(text("user_id"));
    DeviceId device(text("device_id"));
    if (!is_id(user.value)) throw unreachable("its whoami names no user");
    if (!is_id(device.value)) throw MatrixError(403, "M_FORBIDDEN", "This access token is of no device");
    co_return co_await logs_.device(user, device);
}

void Access::verified(const std::string& token) {
    auto found = known_.find(token);
    if (found != known_.end()) found->second.verified = loop_.now();
}

Task<void> Access::refuse(std::string token, MatrixError why) {
    Known& known = known_[token];
    known.row = {};
    known.refusal = std::move(why);
    known.refused = loop_.now();
    ++refusals_;
    co_await tokens_.forget_token(token);
}

void Access::ask_again() {
    for (auto& [token, known] : known_) {
        known.row = {};
        if (known.asking) known.asking->give_up();
    }
}

bool Access::asks() const {
    return std::ranges::any_of(known_, [](const auto& item) { return item.second.asking && !item.second.asking->ended(); });
}

void Access::stop() {
    for (auto& [token, known] : known_) {
        if (known.asking) known.asking->give_up();
    }
}

const MatrixError* Access::refusal(const std::string& token) const {
    auto found = known_.find(token);
    if (found == known_.end() || !found->second.refusal || loop_.now() - found->second.refused > kRefusalHolds) return nullptr;
    return &*found->second.refusal;
}

void Access::forget() {
    std::erase_if(known_, [&](const auto& item) {
        const Known& known = item.second;
        bool asking = known.asking && !known.asking->ended();
        return !asking && loop_.now() - known.verified > kRecheck && loop_.now() - known.refused > kRefusalHolds;
    });
}

void Access::forget(DeviceKey device) {
    for (auto& [token, known] : known_) {
        if (known.row.key == device) known.row = {};
    }
}

}  // namespace matrix_sync
