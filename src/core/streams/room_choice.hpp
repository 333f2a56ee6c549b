// Which rooms a list shows now, in which order, and which have changed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/rooms/views.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/room_list_terms.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

/// A room of which a list has something to say.
struct ListChange {
    /// Where it last changed. That and what is said depend on the log alone, not on where a session stands: it may have been told of
    /// others first.
    Position at;
    RoomId room;
    enum class Kind {
        listed,
        unlisted,  ///< it does not match, and may have before
        entered,   ///< the same, if the device knew it before its present section began
        left,      ///< if the session has seen it
    } kind = Kind::listed;
    std::optional<RoomRow> row;  ///< of as many as an answer can hold

    bool certain() const { return kind == Kind::listed || kind == Kind::unlisted; }
};

class RoomChoice {
  public:
    /// Both have to outlive it.
    RoomChoice(Reading& reading, const RoomListTerms& terms) : reading_(reading), terms_(terms) {}

    /// Brings to memory what choosing looks at; changes() needs to know where it will begin. The others then tell of one moment for as long
    /// as the caller does not suspend.
    Task<void> prepare(std::optional<Position> after);

    /// All that match, in order.
    std::vector<ListedRoom> in_order() const;
    /// What has changed after a cursor, oldest first. The first ones, of which at least `most` will be shown if there are so many, have
    /// rows.
    std::vector<ListChange> changes(const Cursor& cursor, std::size_t most) const;
    /// Where a session stands that was told of the first `done`, at least one; `end` is the end of the log when they were chosen.
    Cursor after(const std::vector<ListChange>& changes, std::size_t done, const Cursor& before, Position end) const;

  private:
    struct Space {
        Position seq;  ///< of the space's row
        RoomViews::Children children;
        std::map<RoomId, Position> changed;
    };

    Task<bool> load_spaces(std::optional<Position> after);
    /// The room IDs are those that the spaces hold.
    using Places = std::unordered_map<std::string_view, std::size_t>;
    Places places() const;
    Position changed_in_spaces(const RoomId& room) const;
    std::set<RoomId> changed_at(Position place) const;
    bool hidden(const ListedRoom& room) const;
    bool shows(const ListedRoom& room) const;
    std::set<const RoomRow*> changed_after(Position after) const;
    std::optional<ListChange> change(const RoomRow& row, bool in_spaces, Position after) const;

    Reading& reading_;
    const RoomListTerms& terms_;
    std::shared_ptr<const std::set<std::string>> ignored_;
    std::map<RoomId, Space> spaces_;
};

}  // namespace matrix_sync
