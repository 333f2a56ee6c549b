// Reads JSON as it arrives, in any cut, and hands out the values somebody wants as slices of the very bytes that came. What nobody wants
// is checked for being JSON and forgotten.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "core/json/cursor.hpp"

namespace matrix_sync {

class JsonReader {
  public:
    enum class Want {
        skip,
        enter,  ///< an object or array whose members or elements are asked for one by one
        slice,  ///< the whole value at once; as an array's element only objects and arrays
    };

    /// What it throws ends the reading and comes out of feed() or finish().
    class Handler {
      public:
        virtual ~Handler() = default;
        /// A member of the object entered last. `name` (escapes resolved) lives as long as the call.
        virtual Want member(std::string_view name) = 0;
        /// The next element of the array entered last; before anything else: the text's one value.
        virtual Want element() = 0;
        /// The value is entered; `kind` is object or array.
        virtual void entered(JsonKind kind) = 0;
        virtual void left() = 0;
        /// The value as its bytes, which live as long as the call, and how many objects and arrays stand in each other in it.
        virtual void slice(std::string_view json, std::size_t depth) = 0;
        /// A value that should be entered, or an element that should be sliced, is neither object nor array.
        virtual void scalar(JsonKind kind) = 0;
    };

    /// `max_depth` is for what is entered and what is skipped; slices say how deep they are.
    JsonReader(Handler& handler, std::size_t max_depth);
    ~JsonReader();

    /// Throws JsonError for what is not JSON or too deep. After anything was thrown, the reader is of no use.
    void feed(std::string_view bytes);
    /// After the last byte.
    void finish();

    struct Impl;

  private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace matrix_sync
