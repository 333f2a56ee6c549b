#include "core/devices/tail.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace matrix_sync {

namespace {

constexpr std::size_t kMostNews = 64;
constexpr std::size_t kMostBytes = 128 * 1024;
/// Of one room, before the news.
constexpr std::size_t kMostBefore = 32;

std::size_t bytes_of(const Entry& entry) {
    return sizeof(Entry) + entry.events.size() * sizeof(EventRef) + entry.transaction_ids.size() * sizeof(std::string);
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
    while (news_.size() > 1 && (news_.size() > kMostNews || news_bytes_ > kMostBytes)) forget_oldest();
}

void Tail::forget_oldest() {
    News news = std::move(news_.front());
    news_.pop_front();
    news_bytes_ -= bytes_of(news);
    begin_ = news.to;
    for (Entry& entry : news.entries) {
        auto room = before_.find(entry.room_key);
        if (room == before_.end()) continue;
        std::deque<Entry>& entries = room->second;
        before_bytes_ += bytes_of(entry);
        entries.push_front(std::move(entry));
        if (entries.size() <= kMostBefore) continue;
        before_bytes_ -= bytes_of(entries.back());
        entries.pop_back();
    }
}

void Tail::keep(RoomKey room, std::vector<Entry> entries, Position to) {
    if (to < begin_) return;
    std::deque<Entry>& kept = before_[room];
    for (const Entry& entry : kept) before_bytes_ -= bytes_of(entry);
    kept.clear();
    for (Entry& entry : entries) {
        if (entry.seq > begin_ || kept.size() == kMostBefore) continue;
        before_bytes_ += bytes_of(entry);
        kept.push_back(std::move(entry));
    }
}

std::vector<Entry> Tail::entries(RoomKey room, Position from, Position to) const {
    std::vector<Entry> entries;
    for (const News& news : news_) {
        for (const Entry& entry : news.entries) {
            if (entry.room_key == room && entry.seq > from && entry.seq <= to) entries.push_back(entry);
        }
    }
    return entries;
}

std::vector<Entry> Tail::newest(const std::set<RoomKey>& rooms, Position to) const {
    std::vector<Entry> entries;
    for (auto news = news_.rbegin(); news != news_.rend(); ++news) {
        for (auto entry = news->entries.rbegin(); entry != news->entries.rend(); ++entry) {
            if (entry->seq <= to && rooms.contains(entry->room_key)) entries.push_back(*entry);
        }
    }
    for (RoomKey room : rooms) {
        auto before = before_.find(room);
        if (before == before_.end()) continue;
        std::ranges::copy_if(before->second, std::back_inserter(entries), [&](const Entry& entry) { return entry.seq <= to; });
    }
    return entries;
}

}  // namespace matrix_sync
