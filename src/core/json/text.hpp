// Text as UTF-8, as the Unicode standard defines it, and as JSON writes it down.
#pragma once

#include <string>
#include <string_view>

namespace matrix_sync {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";  // U+FFFD

/// Bytes of the character that `text` begins with; 0 when it begins with none that is well-formed (surrogates and overlong forms are not).
std::size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);

/// Whether PostgreSQL's `text` can hold it as it is.
bool is_storable(std::string_view text);
/// `text` as it can be held: each byte that belongs to no well-formed character, and U+0000, becomes U+FFFD.
std::string storable_text(std::string_view text);

/// What stands between the quotes of a JSON string, its escapes resolved; a lone surrogate becomes U+FFFD. The string is one that a JSON
/// parser has accepted.
std::string unescape(std::string_view between_quotes);

}  // namespace matrix_sync
