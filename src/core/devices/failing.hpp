// What the log says of devices whose logs do not go on. When the homeserver or the database is in trouble that befalls all devices at once:
// what befalls each is said at level info, and for the operator there is a line when it begins, one a minute while it lasts, and one when
// it is over.
#pragma once

#include <string>
#include <utility>

#include "core/seldom.hpp"

namespace matrix_sync {

/// One for a worker.
class FailingDevices {
  public:
    FailingDevices(Loop& loop, SeldomLine::Log log) : loop_(loop), log_(log), line_(loop, std::move(log)) {}

    /// A device, from its first failure until there is a good answer, or nobody looks after it here any more.
    class One {
      public:
        explicit One(FailingDevices& all) : all_(all) { all_.begin(); }
        One(const One&) = delete;
        One& operator=(const One&) = delete;
        ~One() { all_.end(); }

      private:
        FailingDevices& all_;
    };

    /// Each time that one of them fails.
    void failed(const std::string& text) {
        log_(LogLevel::info, text);
        told_ |= line_.write(LogLevel::warn, text + "; devices of this worker that fail now: " + std::to_string(count_));
    }
    std::size_t count() const { return count_; }
    /// The worker stops: that nobody looks after them any more is no good news.
    void close() { told_ = false; }

  private:
    void begin() {
        if (count_++ == 0) since_ = loop_.now();
    }
    void end() {
        if (--count_ > 0 || !std::exchange(told_, false)) return;
        auto lasted = std::chrono::duration_cast<std::chrono::seconds>(loop_.now() - since_);
        log_(LogLevel::notice, "no device of this worker fails any more, after " + std::to_string(lasted.count()) + " s");
    }

    Loop& loop_;
    SeldomLine::Log log_;
    SeldomLine line_;
    std::size_t count_ = 0;
    Instant since_{};
    bool told_ = false;
};

}  // namespace matrix_sync
