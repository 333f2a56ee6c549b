// Names as they are compared and searched, whatever their case and form: Unicode's NFKC_Casefold (toNFKC_Casefold of chapter 3.13).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace matrix_sync {

/// NFKC_Casefold of `text` made storable, cut after at most `casefold_limit` bytes, between two characters. Bytes of two such names compare
/// as their code points do.
std::string casefold(std::string_view text);

/// PostgreSQL's index entries end at 2,704 bytes.
inline constexpr std::size_t casefold_limit = 1000;

/// What members are sorted by: the casefolded display name or, without one or when it is empty, the user ID without `@`.
std::string member_sort_name(const std::optional<std::string>& displayname, std::string_view user_id);

}  // namespace matrix_sync
