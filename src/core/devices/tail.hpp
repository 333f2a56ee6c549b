// The end of a device's log, as far as memory has it.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "matrix_sync/store.hpp"

namespace matrix_sync {

/// Everything that came after begin(), and of some rooms their newest entries before it.
class Tail {
  public:
    explicit Tail(Position end) : begin_(end) {}

    Position begin() const { return begin_; }
    /// About.
    std::size_t bytes() const { return news_bytes_ + before_bytes_; }

    /// Forgets everything: the log ends there.
    void restart(Position end);
    /// The news go on where it ended, or everything before them is forgotten. The oldest go when there are many.
    void add(News news);
    /// A room's newest entries up to `to`, newest first, as they were read: kept if they go on to begin(), and as far as a timeline shows
    /// them.
    void keep(RoomKey room, const std::vector<Entry>& entries, Position to);

    /// What came after a position not before begin().
    template <class Item>
    std::vector<Item> items(Position after, std::vector<Item> News::*list) const {
        std::vector<Item> items;
        for (auto news = first_after(after); news != news_.end(); ++news) {
            for (const Item& item : (*news).*list) {
                if (item.seq > after) items.push_back(item);
            }
        }
        return items;
    }
    /// Of one room, in (from, to], oldest first; `from` is not before begin().
    std::vector<Entry> entries(RoomKey room, Position from, Position to) const;
    /// Of each room the newest up to `to`, newest first, as far back as memory goes, but not beyond a gap, nor far beyond `most` events:
    /// what is older may have been pruned.
    std::vector<Entry> newest(const std::set<RoomKey>& rooms, Position to, std::size_t most) const;

  private:
    /// Looked for from the end, where nearly everybody stands.
    std::deque<News>::const_iterator first_after(Position position) const;
    void forget_oldest();
    void put(RoomKey room, std::vector<Entry> entries);

    Position begin_;
    std::deque<News> news_;  ///< without gaps
    std::size_t news_bytes_ = 0;
    std::unordered_map<RoomKey, std::vector<Entry>> before_;  ///< newest first; none is empty
    std::size_t before_bytes_ = 0;
};

}  // namespace matrix_sync
