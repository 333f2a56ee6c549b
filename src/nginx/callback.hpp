// Something small that the loop shall call.
#pragma once

#include <functional>
#include <utility>

#include "matrix_sync/loop.hpp"

namespace matrix_sync {

class Callback final : public Deferred {
  public:
    explicit Callback(std::function<void()> call) : call_(std::move(call)) {}
    ~Callback() override { cancel(); }

  private:
    void fire() override { call_(); }

    std::function<void()> call_;
};

}  // namespace matrix_sync
