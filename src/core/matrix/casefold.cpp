#include "core/matrix/casefold.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <algorithm>

#include "core/json/text.hpp"

namespace matrix_sync {

namespace {

// A name longer than this is cut before it is folded: putting combining marks into their order takes quadratic time, and of what is folded
// little is kept.
constexpr std::size_t longest_folded = 4 * casefold_limit;

bool is_plain(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char byte) { return byte > 0 && byte < 0x80; });
}

char lower(char byte) {
    return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + ('a' - 'A')) : byte;
}

bool continues_character(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

std::string_view cut(std::string_view text, std::size_t limit) {
    if (text.size() <= limit) return text;
    while (limit > 0 && continues_character(text[limit])) --limit;
    return text.substr(0, limit);
}

std::string normalized(std::string_view utf8) {
    UErrorCode error = U_ZERO_ERROR;
    const icu::Normalizer2* folding = icu::Normalizer2::getNFKCCasefoldInstance(error);
    std::string folded;
    icu::StringByteSink<std::string> sink(&folded);
    if (U_SUCCESS(error)) folding->normalizeUTF8(0, icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())), sink, nullptr, error);
    return U_SUCCESS(error) ? folded : std::string(utf8);
}

}  // namespace

std::string casefold(std::string_view text) {
    if (is_plain(text)) {
        std::string folded(text.substr(0, casefold_limit));
        std::transform(folded.begin(), folded.end(), folded.begin(), lower);
        return folded;
    }
    std::string storable = storable_text(text);
    std::string folded = normalized(cut(storable, longest_folded));
    return std::string(cut(folded, casefold_limit));
}

std::string member_sort_name(const std::optional<std::string>& displayname, std::string_view user_id) {
    if (displayname && !displayname->empty()) return casefold(*displayname);
    if (user_id.starts_with('@')) user_id.remove_prefix(1);
    return casefold(user_id);
}

}  // namespace matrix_sync
