#include "core/devices/device.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "core/matrix/content.hpp"
#include "core/rooms/views.hpp"
#include "core/shared_work.hpp"

namespace matrix_sync {

namespace {

/// A room's row and what is computed of it, about.
constexpr std::size_t kRoomBytes = 2048;
constexpr const char* kIgnored = "m.ignored_user_list";

template <class List>
void raise(Position& last, const List& list) {
    if (!list.empty()) last = std::max(last, list.back().seq);
}

/// Takes of items with the same name the last one; in the order they came in.
template <class Item, class Name>
std::vector<Item> latest_of(std::vector<Item>& items, Name name_of) {
    std::set<std::string> seen;
    std::vector<Item> latest;
    for (auto item = items.rbegin(); item != items.rend(); ++item) {
        if (seen.insert(name_of(*item)).second) latest.push_back(std::move(*item));
    }
    std::ranges::reverse(latest);
    return latest;
}

}  // namespace

Device::Device(Loop& loop, LogStore& logs, RoomStore& rooms, RoomCache& cache, CacheBudget& budget, const DeviceRow& row)
    : CacheBudget::Spender(budget),
      key(row.key),
      user(row.user),
      id(row.device),
      loop_(loop),
      logs_(logs),
      room_store_(rooms),
      cache_(cache),
      heard_since_(cache.begin()),
      changed_(loop),
      typing_(loop, [this] { changed_.notify(); }),
      end_(row.end),
      whole_(row.whole),
      last_to_device_(row.end),
      last_device_list_(row.end),
      last_account_data_(row.end),
      views_(std::make_unique<RoomViews>()),
      tail_(row.end) {}

Device::~Device() = default;

template <class Item>
std::optional<std::vector<Item>> Device::from_memory(Position after, Position deleted, std::vector<Item> News::*list) const {
    // A stream that begins, or goes back, reads in the store: only what is still kept there may be shown.
    if (after.value == 0 || after < deleted || after < tail_.begin()) return std::nullopt;
    return tail_.items(after, list);
}

Task<std::vector<ToDeviceMessage>> Device::read_to_device(Position after, int limit) {
    if (auto items = from_memory(after, deleted_to_device_, &News::to_device)) {
        if (items->size() > static_cast<std::size_t>(limit)) items->resize(static_cast<std::size_t>(limit));
        co_return std::move(*items);
    }
    co_return co_await logs_.to_device(key, after, limit);
}

Task<std::vector<DeviceListChange>> Device::read_device_lists(Position after) {
    auto items = from_memory(after, deleted_device_lists_, &News::device_lists);
    if (!items) co_return co_await logs_.device_lists(key, after);
    // The latest word about a user is the only one: rule 24.
    co_return latest_of(*items, [](const DeviceListChange& change) { return change.user.value; });
}

Task<std::vector<AccountDataEvent>> Device::read_account_data(Position after) {
    auto items = from_memory(after, Position{}, &News::account_data);
    if (!items) co_return co_await logs_.account_data(key, after);
    co_return latest_of(*items, [](const AccountDataEvent& event) { return event.type; });
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
    std::set<RoomKey> redacted;
    for (const Entry& entry : news.entries) {
        // Typists of a former owner of the log do not count any more.
        if (entry.seq > end_ && entry.seq.generation() == news.to.generation()) typing_.apply(entry);
        // A gap may hide redactions.
        if (entry.redacts || entry.gap) redacted.insert(entry.room_key);
        if (entry.members) cache_.members_changed(entry.room_key);
    }
    for (const RoomRow& row : news.rooms) {
        // Rows may be ahead of the log: what redacts comes with a later part of it.
        if (row.members > news.to) redacted.insert(row.key);
    }
    cache_.redacted(redacted);
    for (const RoomRow& row : news.rooms) {
        if (row.members > end_) cache_.members_changed(row.key);
        if (all_rooms_ || loading_ || rooms_.contains(row.room)) keep(row);
    }
    for (const AccountDataEvent& event : news.account_data) {
        if (event.type == kIgnored) ignored_.reset();
    }
    raise(last_to_device_, news.to_device);
    raise(last_device_list_, news.device_lists);
    raise(last_account_data_, news.account_data);
    if (news.key_counts) key_counts_ = news.key_counts;
    whole_ = whole_ || news.whole;
    // Between, the log has been pruned, of redactions too.
    if (news.from > end_) heard_since_ = cache_.begin();
    end_ = std::max(end_, news.to);
    news.rooms.clear();  // those that somebody looks at are kept above
    tail_.add(std::move(news));
    count(bytes());
    changed_.notify();
}

void Device::restart(const DeviceRow& row, const std::vector<Entry>& typing) {
    typing_.clear();
    for (const Entry& entry : typing) typing_.apply(entry);
    tail_.restart(row.end);
    key_counts_.reset();
    forget_rooms();
    // What was redacted since this worker last looked is not told any more.
    heard_since_ = cache_.begin();
    whole_ = row.whole;
    end_ = last_to_device_ = last_device_list_ = last_account_data_ = row.end;
    changed_.notify();
}

void Device::keep(const RoomRow& row) {
    RoomRow& kept = rooms_[row.room];
    if (kept.key && kept.seq >= row.seq) return;
    if (kept.key) rooms_by_seq_.erase({kept.seq, &kept});
    if (kept.key && kept.key != row.key) views_->forget(kept.key);
    // How a room looks by what no log has told comes as the summary does, with something that lists show, too.
    Position summary = row.summary_changed;
    if (kept.key == row.key) {
        const bool doubted = row.listed > kept.listed && views_->take_doubt(row.key);
        summary = std::max(summary, doubted ? row.seq : kept.summary_changed);
    }
    kept = row;
    kept.summary_changed = summary;
    rooms_by_seq_.emplace(kept.seq, &kept);
    views_->changed(kept);
    listed_ = std::max(listed_, row.listed);
}

/// Rows as they were read. Those whose members are ahead of end(), as they are after redactions, come after some that this worker has not
/// heard of yet.
void Device::keep(const std::vector<RoomRow>& rows) {
    std::set<RoomKey> ahead;
    for (const RoomRow& row : rows) {
        if (row.members > end_) ahead.insert(row.key);
    }
    cache_.redacted(ahead);
    for (const RoomRow& row : rows) keep(row);
}

/// What was read of a former owner's log may have been lost in a crash of the database.
void Device::forget_rooms() {
    ++restarts_;
    loading_.reset();
    views_->forget();
    rooms_by_seq_.clear();
    rooms_.clear();
    all_rooms_ = false;
    listed_ = {};
    ignored_.reset();
}

Task<std::optional<RoomRow>> Device::room(RoomId room) {
    for (;;) {
        auto kept = rooms_.find(room);
        if (kept != rooms_.end() && kept->second.key) co_return kept->second;
        if (kept != rooms_.end() || all_rooms_) co_return std::nullopt;
        const std::uint64_t restarts = restarts_;
        const Position before = end_;
        RoomId asked = room;
        std::optional<RoomRow> read = co_await room_store_.room(key, std::move(asked));
        // What came meanwhile may be newer than what was read, and was not kept.
        if (restarts != restarts_ || before != end_) continue;
        rooms_.try_emplace(room);
        if (read) keep(std::vector{*std::move(read)});
    }
}

const RoomRow* Device::kept_room(const RoomId& room) const {
    auto kept = rooms_.find(room);
    return kept == rooms_.end() || !kept->second.key ? nullptr : &kept->second;
}

std::vector<const RoomRow*> Device::rooms_after(Position after) const {
    std::vector<const RoomRow*> rooms;
    for (auto room = rooms_by_seq_.lower_bound({Position{after.value + 1}, nullptr}); room != rooms_by_seq_.end(); ++room) {
        rooms.push_back(room->second);
    }
    return rooms;
}

bool Device::room_after(const RoomId& room, Position RoomRow::*place, Position after) const {
    auto kept = rooms_.find(room);
    if (kept == rooms_.end()) return !all_rooms_;
    return kept->second.*place > after;
}

Task<void> Device::load_rooms() {
    while (!all_rooms_) {
        if (!loading_ || loading_->ended()) {
            loading_ = std::make_shared<SharedWork<bool>>(loop_);
            loading_->start(load_all_rooms());
        }
        auto loading = loading_;
        co_await SharedWork<bool>::result(std::move(loading));
    }
}

/// Rooms that change meanwhile are kept as they come.
Task<bool> Device::load_all_rooms() {
    const std::uint64_t restarts = restarts_;
    std::vector<RoomRow> page;
    RoomKey after;
    do {
        page = co_await room_store_.rooms(key, after);
        if (restarts != restarts_) co_return false;
        keep(page);
        if (!page.empty()) after = page.back().key;
        co_await loop_pause(loop_);
        if (restarts != restarts_) co_return false;
    } while (!page.empty());
    all_rooms_ = true;
    co_return true;
}

Task<std::vector<Entry>> Device::read_entries(RoomKey room, Position from, Position to) {
    if (to > end_ || from < tail_.begin()) co_return co_await room_store_.entries(key, room, from, to);
    co_return tail_.entries(room, from, to);
}

std::vector<Entry> Device::kept_entries(const std::set<RoomKey>& rooms, Position to, std::size_t most) const {
    return to > end_ ? std::vector<Entry>() : tail_.newest(rooms, to, most);
}

void Device::keep_entries(RoomKey room, const std::vector<Entry>& entries, Position to) {
    if (to > end_) return;
    tail_.keep(room, entries, to);
    count(bytes());
}

Task<std::map<EventRef, RoomCache::EventPtr>> Device::read_events(std::vector<EventRef> refs) {
    return cache_.events(std::move(refs), heard_since_);
}

Task<std::map<std::string, Member>> Device::read_members(RoomKey room, std::vector<std::string> users) {
    return cache_.members(room, std::move(users), heard_since_);
}

Task<std::shared_ptr<const std::set<std::string>>> Device::ignored_users() {
    while (!ignored_) {
        const Position before = last_account_data_;
        const std::uint64_t restarts = restarts_;
        std::optional<std::string> event = co_await room_store_.account_data(key, kIgnored);
        if (before != last_account_data_ || restarts != restarts_) continue;
        std::set<std::string> users;
        for (const UserId& ignored : read_ignored_users(event.value_or(""))) users.insert(ignored.value);
        ignored_ = std::make_shared<const std::set<std::string>>(std::move(users));
    }
    co_return ignored_;
}

void Device::let_go() {
    if (--held_ == 0) use(bytes());
}

std::size_t Device::bytes() const {
    return tail_.bytes() + rooms_.size() * kRoomBytes;
}

/// All of it can be read again; only not under the hands of who is reading it.
void Device::drop() {
    tail_.restart(end_);
    if (held_ == 0) forget_rooms();
    count(bytes());
}

}  // namespace matrix_sync
