// Who types in which room, as the device's own poll said last (rule 20).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// Typists end when the homeserver says so, when the user leaves the room, when the log gets a new owner, or two minutes after the last
/// word about them.
class Typing {
  public:
    static constexpr Milliseconds kExpiry{120'000};

    /// `ended` is called, from the loop, when time has ended some.
    Typing(Loop& loop, std::function<void()> ended) : loop_(loop), expiry_(std::move(ended), *this) {}

    struct Typists {
        Position since;                  ///< where the log said so
        std::vector<std::string> users;  ///< never empty
        Instant until;
    };
    /// Nullptr when nobody types, or there is no such room.
    const Typists* in(const RoomId& room) const;

    void apply(const Entry& entry);
    void clear() { rooms_.clear(); }

  private:
    struct Expiry : Deferred {
        Expiry(std::function<void()> call, Typing& owner) : ended(std::move(call)), typing(owner) {}
        void fire() override { typing.expire(); }
        std::function<void()> ended;
        Typing& typing;
        Instant at{};
    };
    void expire();

    Loop& loop_;
    std::map<RoomId, Typists> rooms_;
    Expiry expiry_;
};

}  // namespace matrix_sync
