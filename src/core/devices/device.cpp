#include "core/devices/device.hpp"

#include <algorithm>
#include <utility>

namespace matrix_sync {

namespace {

constexpr std::size_t kMostTail = 64;
constexpr std::size_t kMostTailBytes = 128 * 1024;

std::size_t bytes_of(const News& news) {
    std::size_t bytes = sizeof(News) + news.entries.size() * sizeof(Entry);
    for (const auto& message : news.to_device) bytes += sizeof(message) + message.body.size();
    for (const auto& event : news.account_data) bytes += sizeof(event) + event.body.size();
    for (const auto& change : news.device_lists) bytes += sizeof(change) + change.user.value.size();
    return bytes;
}

template <class List>
void raise(Position& last, const List& list) {
    if (!list.empty()) last = std::max(last, list.back().seq);
}

}  // namespace

Device::Device(Loop& loop, LogStore& logs, const DeviceRow& row)
    : key(row.key),
      user(row.user),
      id(row.device),
      logs_(logs),
      changed_(loop),
      typing_(loop, [this] { changed_.notify(); }),
      end_(row.end),
      whole_(row.whole),
      last_to_device_(row.end),
      last_device_list_(row.end),
      last_account_data_(row.end) {}

template <class Item, class List>
std::optional<std::vector<Item>> Device::from_memory(Position after, Position deleted, List News::*list) const {
    // A stream that begins, or goes back, reads in the store: only what is still kept there may be shown.
    bool reaches = after.value > 0 && after >= deleted && (after >= end_ || (!tail_.empty() && tail_.front().from <= after));
    if (!reaches) return std::nullopt;
    std::vector<Item> items;
    for (const News& news : tail_) {
        for (const Item& item : news.*list) {
            if (item.seq > after) items.push_back(item);
        }
    }
    return items;
}

Task<std::vector<ToDeviceMessage>> Device::read_to_device(Position after, int limit) {
    if (auto items = from_memory<ToDeviceMessage>(after, deleted_to_device_, &News::to_device)) {
        if (items->size() > static_cast<std::size_t>(limit)) items->resize(static_cast<std::size_t>(limit));
        co_return std::move(*items);
    }
    co_return co_await logs_.to_device(key, after, limit);
}

Task<std::vector<DeviceListChange>> Device::read_device_lists(Position after) {
    auto items = from_memory<DeviceListChange>(after, deleted_device_lists_, &News::device_lists);
    if (!items) co_return co_await logs_.device_lists(key, after);
    // The latest word about a user is the only one: rule 24.
    std::vector<DeviceListChange> latest;
    for (auto& item : *items) {
        std::erase_if(latest, [&](const DeviceListChange& older) { return older.user == item.user; });
        latest.push_back(std::move(item));
    }
    co_return latest;
}

Task<std::vector<AccountDataEvent>> Device::read_account_data(Position after) {
    auto items = from_memory<AccountDataEvent>(after, Position{}, &News::account_data);
    if (!items) co_return co_await logs_.account_data(key, after);
    std::vector<AccountDataEvent> latest;
    for (auto& item : *items) {
        std::erase_if(latest, [&](const AccountDataEvent& older) { return older.type == item.type; });
        latest.push_back(std::move(item));
    }
    co_return latest;
}

Task<KeyCounts> Device::read_key_counts() {
    if (!key_counts_) {
        Position before = end_;
        KeyCounts counts = co_await logs_.key_counts(key);
        if (end_ != before) co_return counts;
        key_counts_ = std::move(counts);
    }
    co_return *key_counts_;
}

void Device::acknowledged(const Acknowledged& acknowledged) {
    deleted_to_device_ = std::max(deleted_to_device_, acknowledged.to_device.value_or(Position{}));
    deleted_device_lists_ = std::max(deleted_device_lists_, acknowledged.e2ee.value_or(Position{}));
}

void Device::apply(News news) {
    if (news.to <= end_ && !(news.whole && !whole_)) return;
    if (news.to.generation() != end_.generation()) typing_.clear();
    for (const Entry& entry : news.entries) {
        // Typists of a former owner of the log do not count any more.
        if (entry.seq > end_ && entry.seq.generation() == news.to.generation()) typing_.apply(entry);
    }
    raise(last_to_device_, news.to_device);
    raise(last_device_list_, news.device_lists);
    raise(last_account_data_, news.account_data);
    if (news.key_counts) key_counts_ = news.key_counts;
    whole_ = whole_ || news.whole;
    if (news.from != end_) {
        tail_.clear();
        tail_bytes_ = 0;
    }
    end_ = std::max(end_, news.to);
    tail_bytes_ += bytes_of(news);
    tail_.push_back(std::move(news));
    forget_oldest();
    changed_.notify();
}

void Device::restart(const DeviceRow& row, const std::vector<Entry>& typing) {
    typing_.clear();
    for (const Entry& entry : typing) typing_.apply(entry);
    tail_.clear();
    tail_bytes_ = 0;
    key_counts_.reset();
    whole_ = row.whole;
    end_ = last_to_device_ = last_device_list_ = last_account_data_ = row.end;
    changed_.notify();
}

void Device::forget_oldest() {
    while (tail_.size() > 1 && (tail_.size() > kMostTail || tail_bytes_ > kMostTailBytes)) {
        tail_bytes_ -= std::min(tail_bytes_, bytes_of(tail_.front()));
        tail_.pop_front();
    }
}

}  // namespace matrix_sync
