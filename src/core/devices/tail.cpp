#include "core/devices/tail.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace matrix_sync {

namespace {

constexpr std::size_t kMostNews = 16;
constexpr std::size_t kMostBytes = 128 * 1024;
/// Of one room, before the news.
constexpr std::size_t kMostBefore = 32;
/// No timeline shows more.
constexpr std::size_t kMostEvents = 200;

/// With the map's node of its room.
constexpr std::size_t kEntryBytes = sizeof(Entry) + 64;

std::size_t bytes_of(const Entry& entry) {
    std::size_t bytes = kEntryBytes + entry.events.size() * sizeof(EventRef) + entry.room.value.size() + entry.next_batch.size();
    bytes += entry.prev_batch ? entry.prev_batch->size() : 0;
    for (const auto& id : entry.transaction_ids) bytes += sizeof(id) + (id ? id->size() : 0);
    if (entry.typing) {
        for (const std::string& user : *entry.typing) bytes += sizeof(std::string) + user.size();
    }
    return bytes;
}

std::size_t bytes_of(const News& news) {
    std::size_t bytes = sizeof(News) + news.rooms.size() * sizeof(RoomRow);
    for (const auto& entry : news.entries) bytes += bytes_of(entry);
    for (const auto& message : news.to_device) bytes += sizeof(message) + message.body.size();
    for (const auto& event : news.account_data) bytes += sizeof(event) + event.body.size();
    for (const auto& change : news.device_lists) bytes += sizeof(change) + change.user.value.size();
    return bytes;
}

}  // namespace

void Tail::restart(Position end) {
    news_.clear();
    before_.clear();
    news_bytes_ = before_bytes_ = 0;
    begin_ = end;
}

void Tail::add(News news) {
    const Position end = news_.empty() ? begin_ : news_.back().to;
    if (news.from != end) restart(news.from);
    news_bytes_ += bytes_of(news);
    news_.push_back(std::move(news));
    while (news_.size() > kMostNews || news_bytes_ > kMostBytes) forget_oldest();
}

void Tail::forget_oldest() {
    News news = std::move(news_.front());
    news_.pop_front();
    news_bytes_ -= bytes_of(news);
    begin_ = news.to;
    for (Entry& entry : news.entries) {
        auto room = before_.find(entry.room_key);
        if (room == before_.end()) continue;
        std::vector<Entry> entries = std::move(room->second);
        entries.insert(entries.begin(), std::move(entry));
        put(room->first, std::move(entries));
    }
}

/// In the place of what is kept of the room.
void Tail::put(RoomKey room, std::vector<Entry> entries) {
    for (const Entry& entry : before_[room]) before_bytes_ -= bytes_of(entry);
    auto gap = std::ranges::find_if(entries, &Entry::gap);
    if (gap != entries.end()) entries.erase(gap + 1, entries.end());
    if (entries.size() > kMostBefore) entries.resize(kMostBefore);
    for (const Entry& entry : entries) before_bytes_ += bytes_of(entry);
    before_[room] = std::move(entries);
}

void Tail::keep(RoomKey room, const std::vector<Entry>& entries, Position to) {
    if (to < begin_) return;
    std::vector<Entry> before;
    std::ranges::copy_if(entries, std::back_inserter(before), [this](const Entry& entry) { return entry.seq <= begin_; });
    auto kept = before_.find(room);
    if (before.size() > (kept == before_.end() ? 0 : kept->second.size())) put(room, std::move(before));
}

std::deque<News>::const_iterator Tail::first_after(Position position) const {
    auto first = news_.end();
    while (first != news_.begin() && std::prev(first)->to > position) --first;
    return first;
}

std::vector<Entry> Tail::entries(RoomKey room, Position from, Position to) const {
    std::vector<Entry> entries;
    for (auto news = first_after(from); news != news_.end(); ++news) {
        for (const Entry& entry : news->entries) {
            if (entry.room_key == room && entry.seq > from && entry.seq <= to) entries.push_back(entry);
        }
    }
    return entries;
}

std::vector<Entry> Tail::newest(const std::set<RoomKey>& rooms, Position to, std::size_t most) const {
    std::vector<Entry> entries;
    std::map<RoomKey, std::size_t> events;
    std::set<RoomKey> wanted = rooms;
    auto take = [&](const Entry& entry, std::size_t enough) {
        if (entry.seq > to || !wanted.contains(entry.room_key)) return;
        entries.push_back(entry);
        events[entry.room_key] += entry.events.size();
        if (entry.gap || events[entry.room_key] >= enough) wanted.erase(entry.room_key);
    };
    for (auto news = news_.rbegin(); news != news_.rend() && !wanted.empty(); ++news) {
        for (auto entry = news->entries.rbegin(); entry != news->entries.rend(); ++entry) take(*entry, kMostEvents);
    }
    for (RoomKey room : std::set(wanted)) {
        auto before = before_.find(room);
        if (before == before_.end() || events[room] >= most) continue;
        for (const Entry& entry : before->second) take(entry, most);
    }
    return entries;
}

}  // namespace matrix_sync
