// A homeserver that does not load members lazily sends all members of all rooms with a first answer. Those that no list of rooms shows are
// put off until the rooms are stored, so that whoever waits for the list waits for rooms only.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "core/classic/answer.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

class LateMembers {
  public:
    explicit LateMembers(UserId user) : user_(std::move(user)) {}

    /// Takes them out of a room, which comes whole.
    Task<void> take(RoomPart& room, Slices& slices);
    bool empty() const { return chunks_.empty(); }
    /// There are so many that some have to be stored now.
    bool full() const;
    /// About a quarter of a megabyte of the oldest. Not when empty().
    std::vector<RoomMembers> next();

  private:
    struct Chunk {
        RoomId room;
        std::string events;  ///< JSON, as in an array: half as large as they are as Events
    };
    void add(const RoomId& room, const std::string& event);

    UserId user_;
    std::deque<Chunk> chunks_;
    std::size_t bytes_ = 0;
};

}  // namespace matrix_sync
