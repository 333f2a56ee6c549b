// Deletes what nobody can ask for any more, device by device and then room by room; ARCHITECTURE.md, "Pruning", says what that is.
//
// A pass is one worker's at a time, because one is enough: nothing depends on it. What a pass leaves undone, because its worker dies, the
// next one finds again. Transactions are short. Locks, in the common order: a device, rooms; what is swept is locked where nobody else has
// it, and else left for the next time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "matrix_sync/database.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// How old something has to be.
struct PruneAges {
    Milliseconds expiry;  ///< of sessions
    /// No answer and no transaction is under way for so long: an hour, or the expiry where that is shorter.
    Milliseconds settled;
};

class PostgresPruning : public PruneStore {
  public:
    PostgresPruning(Database& database, Loop& loop) : database_(database), loop_(loop) {}

    Task<bool> prune(Milliseconds expiry) override;

  private:
    /// A device of which something may go.
    struct Due {
        std::int64_t device = 0;
        bool log = false;
        bool left = false;    ///< rooms
        bool unused = false;  ///< the device itself
    };

    // pruning.cpp
    Task<bool> begin_pass();
    Task<void> keep_pass(Milliseconds free_after);
    Task<void> find_devices(PruneAges ages);
    /// A transaction of its own: what takes long keeps nobody from the connection that carries single statements.
    Task<Rows> alone(const Statement& statement, Params params);

    // pruning_devices.cpp: a step each; false when nothing is left to do
    Task<bool> prune_device(Due due, PruneAges ages);
    Task<bool> prune_log(std::int64_t device, PruneAges ages);
    Task<bool> forget_left(std::int64_t device, PruneAges ages);
    Task<bool> forget_device(std::int64_t device, PruneAges ages);

    // pruning_rooms.cpp
    Task<bool> sweep_room(PruneAges ages);
    Task<void> delete_room(std::int64_t room);
    Task<void> sweep_members(std::int64_t room);
    Task<bool> sweep_states(std::int64_t room);
    Task<bool> sweep_events(std::int64_t room);
    Task<bool> sweep_found(const Rows& found, const Statement& mark, const Statement& remove);

    Database& database_;
    Loop& loop_;
    bool in_pass_ = false;
    Instant kept_{};           ///< when the pass was last said to go on
    std::int64_t device_ = 0;  ///< the pass has come to this one
    bool devices_done_ = false;
    std::vector<Due> due_;  ///< the next one last
};

}  // namespace matrix_sync
