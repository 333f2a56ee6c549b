// A map of limited size: what has not been used for longest goes first.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <unordered_map>
#include <utility>

namespace matrix_sync {

template <class Key, class Value>
class Lru {
  public:
    /// `most` is in bytes, as put() counts them.
    explicit Lru(std::size_t most) : most_(most) {}

    /// Nullptr when it is not there. Valid until the next put() or erase.
    Value* get(const Key& key) {
        auto found = places_.find(key);
        if (found == places_.end()) return nullptr;
        items_.splice(items_.begin(), items_, found->second);
        return &found->second->value;
    }
    void put(const Key& key, Value value, std::size_t bytes) {
        erase(key);
        items_.push_front({key, std::move(value), bytes});
        places_[key] = items_.begin();
        bytes_ += bytes;
        while (bytes_ > most_ && items_.size() > 1) drop(std::prev(items_.end()));
    }
    void erase(const Key& key) {
        auto found = places_.find(key);
        if (found != places_.end()) drop(found->second);
    }
    std::size_t size() const { return items_.size(); }
    std::size_t bytes() const { return bytes_; }
    void clear() {
        items_.clear();
        places_.clear();
        bytes_ = 0;
    }
    template <class Predicate>
    void erase_if(Predicate&& predicate) {
        for (auto item = items_.begin(); item != items_.end();) {
            auto next = std::next(item);
            if (predicate(item->value)) drop(item);
            item = next;
        }
    }

  private:
    struct Item {
        Key key;
        Value value;
        std::size_t bytes;
    };
    using Place = typename std::list<Item>::iterator;

    void drop(Place item) {
        bytes_ -= item->bytes;
        places_.erase(item->key);
        items_.erase(item);
    }

    std::size_t most_;
    std::size_t bytes_ = 0;
    std::list<Item> items_;  ///< the last used first
    std::unordered_map<Key, Place> places_;
};

}  // namespace matrix_sync
