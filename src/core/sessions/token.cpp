#include "core/sessions/token.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/sessions/query.hpp"

namespace matrix_sync {

namespace {

constexpr std::string_view kVersion = "v1";
constexpr std::size_t kUuidDigits = 32;
constexpr std::array<std::size_t, 4> kUuidDashes = {8, 13, 18, 23};

void append_hex(std::string& out, std::int64_t number) {
    std::array<char, 16> digits{};
    auto end = std::to_chars(digits.begin(), digits.end(), number, 16).ptr;
    out.push_back('_');
    out.append(digits.begin(), end);
}

/// `AT`, `AT.WITHIN`, and `~` behind it for a client that has the first page.
void append_cursor(std::string& out, const Cursor& cursor) {
    append_hex(out, cursor.at.value);
    if (cursor.within > 0) {
        std::array<char, 8> digits{};
        auto end = std::to_chars(digits.begin(), digits.end(), cursor.within, 16).ptr;
        out.push_back('.');
        out.append(digits.begin(), end);
    }
    if (cursor.paged) out.push_back('~');
}

template <class Number>
bool read_hex(std::string_view part, Number& number) {
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number, 16);
    return error == std::errc{} && end == part.data() + part.size() && number >= 0;
}

bool read_cursor(std::string_view part, Cursor& cursor) {
    cursor.paged = part.ends_with('~');
    if (cursor.paged) part.remove_suffix(1);
    Words numbers(part, '.');
    if (!read_hex(numbers.next(), cursor.at.value)) return false;
    return part.find('.') == part.npos || read_hex(numbers.rest(), cursor.within);
}

std::optional<SessionId> read_session(std::string_view part) {
    if (part.size() != kUuidDigits || part.find_first_not_of("0123456789abcdef") != part.npos) return std::nullopt;
    std::string uuid(part);
    for (auto dash : kUuidDashes) uuid.insert(dash, 1, '-');
    return SessionId(std::move(uuid));
}

}  // namespace

/// Cursors only go forward, and streams that begin do so at `log`, or with the present. The other streams do not read the log.
Position SyncToken::reach() const {
    Position reach = log;
    for (StreamId id : {StreamId::room_members, StreamId::room, StreamId::room_list}) {
        const Position at = cursors[static_cast<std::size_t>(id)].at;
        if (at.value > 0) reach = std::min(reach, at);
    }
    return reach;
}

std::string SyncToken::encode() const {
    std::string out(kVersion);
    out.push_back('_');
    for (char c : session.value) {
        if (c != '-') out.push_back(c);
    }
    append_hex(out, filter);
    append_hex(out, log.value);
    for (const Cursor& cursor : cursors) append_cursor(out, cursor);
    return out;
}

void SyncToken::go_back_to(Position end) {
    log = std::min(log, end);
    for (Cursor& cursor : cursors) {
        if (cursor.at > end) cursor = {end, 0, cursor.paged};
    }
}

std::optional<SyncToken> SyncToken::decode(std::string_view text) {
    SyncToken token;
    Words parts(text, '_');
    if (parts.next() != kVersion || text.ends_with('_')) return std::nullopt;
    auto session = read_session(parts.next());
    if (!session) return std::nullopt;
    token.session = std::move(*session);
    if (!read_hex(parts.next(), token.filter) || token.filter == 0) return std::nullopt;
    if (!read_hex(parts.next(), token.log.value)) return std::nullopt;
    for (auto& cursor : token.cursors) {
        if (parts.empty()) break;
        if (!read_cursor(parts.next(), cursor) || cursor.at > token.log) return std::nullopt;
    }
    if (!parts.empty()) return std::nullopt;
    return token;
}

}  // namespace matrix_sync
