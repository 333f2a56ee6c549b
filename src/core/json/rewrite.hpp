// Copies a JSON object while leaving members out or giving them other values. All other bytes stay as they are.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "core/json/cursor.hpp"

namespace matrix_sync {

/// What becomes of a member.
struct Rewrite {
    enum Verdict { keep, drop, replace } verdict = keep;
    std::string json = {};  ///< for replace
};

/// Takes the object the cursor stands before, and appends it to `out` with its members as each(name, cursor) wants them; that need not take
/// the value. Says whether a member is left.
template <class Each>
bool rewrite_object(JsonCursor& cursor, const char* what, std::string& out, Each&& each) {
    const char* copied = cursor.position();  // what stands before is in `out` or left out
    const char* previous_end = copied + 1;
    bool any = false;
    bool drop_comma = false;
    auto copy_to = [&](const char* end) {
        if (copied < end) out.append(copied, end);
        copied = std::max(copied, end);
    };
    cursor.object(what, [&](std::string_view name, JsonCursor& value) {
        if (std::exchange(drop_comma, false)) copied = value.name_position();
        const char* begin = value.position();
        Rewrite rewrite = each(name, value);
        if (value.position() == begin) value.skip();
        const char* end = value.value_end();
        if (rewrite.verdict == Rewrite::drop) {
            copy_to(previous_end);
            copied = end;
            drop_comma = !any;
        } else if (rewrite.verdict == Rewrite::replace) {
            copy_to(begin);
            out += rewrite.json;
            copied = end;
        }
        any = any || rewrite.verdict != Rewrite::drop;
        previous_end = end;
    });
    copy_to(cursor.value_end());
    return any;
}

}  // namespace matrix_sync
