// Reads by key that share what is already being read: clients that wake together mostly want the same.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "core/shared_work.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

template <class Key, class Value>
class SharedLookup {
  public:
    using Found = std::map<Key, Value>;
    /// Keys that do not exist are not in what it gives.
    using Read = std::function<Task<Found>(std::vector<Key>)>;

    SharedLookup(Loop& loop, Read read) : loop_(loop), read_(std::move(read)) {}

    /// Throws what the read throws, also to those who share it.
    Task<Found> find(std::vector<Key> keys) {
        const std::set<Key> wanted(keys.begin(), keys.end());
        std::set<std::shared_ptr<Work>> works;
        std::vector<Key> unasked;
        for (const Key& key : wanted) {
            if (auto asked = asked_.find(key); asked != asked_.end() && !asked->second->ended()) {
                works.insert(asked->second);
            } else {
                unasked.push_back(key);
            }
        }
        if (!unasked.empty()) works.insert(start(std::move(unasked)));
        Found found;
        for (std::shared_ptr<Work> work : works) {
            const Found read = co_await Work::result(std::move(work));
            for (const auto& [key, value] : read) {
                if (wanted.contains(key)) found.emplace(key, value);
            }
        }
        co_return found;
    }

    /// What is being read may be old: whoever asks from now on does not share it.
    void forget() { asked_.clear(); }

  private:
    using Work = SharedWork<Found>;

    std::shared_ptr<Work> start(std::vector<Key> keys) {
        std::erase_if(asked_, [](const auto& asked) { return asked.second->ended(); });
        auto work = std::make_shared<Work>(loop_);
        for (const Key& key : keys) asked_.emplace(key, work);
        work->start(read_(std::move(keys)));
        return work;
    }

    Loop& loop_;
    Read read_;
    std::map<Key, std::shared_ptr<Work>> asked_;
};

}  // namespace matrix_sync
