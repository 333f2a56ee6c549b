// A map of what can be read again: its items go when others of the same budget have been used later.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>

#include "core/rooms/cache_budget.hpp"

namespace matrix_sync {

template <class Key, class Value>
class Lru {
  public:
    explicit Lru(CacheBudget& budget) : budget_(budget) {}

    /// Nullptr when it is not there. Valid until the next put() of any map of the budget, or erase.
    Value* get(const Key& key) {
        auto found = items_.find(key);
        if (found == items_.end()) return nullptr;
        found->second->use_again();
        return &found->second->value;
    }
    /// `bytes` is what it takes.
    void put(const Key& key, Value value, std::size_t bytes) {
        std::unique_ptr<Item>& item = items_[key];
        item = std::make_unique<Item>(*this, key, std::move(value), bytes);
        item->use_again();
    }
    void erase(const Key& key) { items_.erase(key); }
    std::size_t size() const { return items_.size(); }
    std::size_t bytes() const { return bytes_; }
    void clear() { items_.clear(); }

  private:
    struct Item : CacheBudget::Spender {
        Item(Lru& map, const Key& its_key, Value its_value, std::size_t size)
            : CacheBudget::Spender(map.budget_), of(map), key(its_key), value(std::move(its_value)), bytes(size) {
            of.bytes_ += bytes;
        }
        ~Item() override { of.bytes_ -= bytes; }
        void use_again() { use(bytes); }
        void drop() override {
            const Key mine = key;
            of.erase(mine);
        }

        Lru& of;
        const Key key;
        Value value;
        const std::size_t bytes;
    };

    CacheBudget& budget_;
    std::size_t bytes_ = 0;
    std::unordered_map<Key, std::unique_ptr<Item>> items_;
};

}  // namespace matrix_sync
