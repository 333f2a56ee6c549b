// Which device an access token is of: asked of the homeserver before anything is served to it, and again from time to time (rule 7).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/shared_work.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/service.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

class Access {
  public:
    Access(Loop& loop, LogStore& logs, TokenStore& tokens) : loop_(loop), logs_(logs), tokens_(tokens) {}

    /// Throws MatrixError: 401 as the homeserver said it, 403 for a token of no device, 429, 502.
    Task<DeviceRow> check(std::string token, Client client, std::shared_ptr<Homeserver> homeserver);

    /// The homeserver has just served something to this token.
    void verified(const std::string& token);
    /// The homeserver has just refused it: that is remembered for a while, and nothing is served to it (rule 5).
    Task<void> refuse(std::string token, MatrixError why);
    /// Why a token is refused at present.
    const MatrixError* refusal(const std::string& token) const;
    /// What is known of tokens is asked for again: the database may be an older copy of what it was, in which the devices have other
    /// numbers. What the homeserver refuses stays refused.
    void ask_again();
    /// Whether it is being asked whose a token is.
    bool asks() const;
    /// Asks no more: those who wait for an answer get DatabaseUnavailable.
    void stop();
    /// Tokens that the homeserver has refused so far.
    std::uint64_t refusals() const { return refusals_; }
    /// Forgets what has not been used for long.
    void forget();
    /// Forgets the tokens of a device: whose they are is asked again.
    void forget(DeviceKey device);

  private:
    struct Known {
        DeviceRow row;
        Instant verified{};
        std::optional<MatrixError> refusal;
        Instant refused{};
        std::shared_ptr<SharedWork<DeviceRow>> asking;
    };

    void make_room(std::size_t bytes);
    Task<DeviceRow> ask(std::string token, Client client, std::shared_ptr<Homeserver> homeserver);
    Task<DeviceRow> whoami(const std::string& token, Client client, std::shared_ptr<Homeserver> homeserver);

    Loop& loop_;
    LogStore& logs_;
    TokenStore& tokens_;
    std::unordered_map<std::string, Known> known_;
    std::size_t new_bytes_ = 0;  ///< of tokens that came since room was made
    std::size_t asked_ = 0;      ///< of the homeserver, now
    std::uint64_t refusals_ = 0;
};

}  // namespace matrix_sync
