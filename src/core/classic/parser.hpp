// Reads a classic GET /sync answer as its bytes arrive, and hands its rooms out as they become whole.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/classic/answer.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// A room whose object is whole.
struct RawRoom {
    RoomId room;
    Section section = Section::join;
    std::string json;
    std::size_t depth = 0;  ///< so many objects and arrays stand in each other
};

class ClassicParser {
  public:
    ClassicParser();
    ~ClassicParser();

    /// Throws HomeserverNonsense when the answer as a whole cannot be understood: not JSON, not an object, deeper than 100, a member of the
    /// wrong type where no room can be blamed. Remote users decide how deep events are: to-device messages and account data may be of any
    /// depth. After it has thrown, the parser is of no use. May be given any cut of the bytes.
    void feed(std::string_view bytes);
    /// After the last byte. Throws HomeserverNonsense when something is missing: the end, or `next_batch`.
    void finish();

    /// Rooms that are whole since the last call, in the answer's order.
    std::vector<RawRoom> take_rooms();
    /// Bytes of the answer that stand behind what take_rooms() would give now.
    std::size_t pending_bytes() const;
    /// Once, after finish().
    AnswerRest take_rest();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Reads a room, in slices. One that is wrong in itself, or deeper than 1000, comes out `broken`.
Task<RoomPart> read_room(RawRoom room, Slices& slices);
/// The same from the text of its object alone, which nobody has looked at: that it is JSON, too.
Task<RoomPart> parse_room(RoomId room, Section section, std::string raw, Slices& slices);

}  // namespace matrix_sync
