// A log line that thousands of requests may have cause to write at once: the first is written, then one a minute that counts the others.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "matrix_sync/loop.hpp"
#include "matrix_sync/service.hpp"

namespace matrix_sync {

class SeldomLine {
  public:
    using Log = std::function<void(LogLevel, const std::string&)>;
    static constexpr Milliseconds kEvery{60'000};

    SeldomLine(Loop& loop, Log log) : loop_(loop), log_(std::move(log)) {}

    /// Whether it was written.
    bool write(LogLevel level, const std::string& text) {
        if (written_ && loop_.now() - *written_ < kEvery) {
            ++left_out_;
            return false;
        }
        log_(level, left_out_ == 0 ? text : text + "; since the last such line " + std::to_string(left_out_) + " more were left out");
        written_ = loop_.now();
        left_out_ = 0;
        return true;
    }

  private:
    Loop& loop_;
    Log log_;
    std::optional<Instant> written_;
    std::uint64_t left_out_ = 0;
};

}  // namespace matrix_sync
