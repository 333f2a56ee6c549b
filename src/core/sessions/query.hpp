// The query string of a request, and text cut at single characters: queries, tokens, messages between workers.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "matrix_sync/loop.hpp"

namespace matrix_sync {

struct RequestQuery {
    std::string since;  ///< empty: a new session
    Milliseconds timeout{0};
};

/// Throws MatrixError 400 M_INVALID_PARAM for a timeout that is no non-negative integer. Other parameters are ignored.
RequestQuery parse_query(std::string_view query);

/// Cuts text at single characters, from the front.
class Words {
  public:
    explicit Words(std::string_view text, char separator = ' ') : rest_(text), separator_(separator) {}

    bool empty() const { return rest_.empty(); }
    std::string_view rest() const { return rest_; }
    std::string_view next() {
        auto end = rest_.find(separator_);
        if (end == rest_.npos) return std::exchange(rest_, {});
        auto word = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return word;
    }
    /// 0 when the next word is no number.
    std::int64_t number() {
        auto word = next();
        std::int64_t value = 0;
        auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        return error == std::errc{} && end == word.data() + word.size() ? value : 0;
    }

  private:
    std::string_view rest_;
    char separator_;
};

}  // namespace matrix_sync
