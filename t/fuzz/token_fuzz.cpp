// What clients send back of what they were given: `since`, p.since, and the query string around it.
#include "core/sessions/query.hpp"
#include "core/sessions/token.hpp"
#include "core/streams/member_pages.hpp"
#include "core/streams/room_list_terms.hpp"
#include "fuzz.hpp"

using namespace matrix_sync;

namespace {

template <class Read>
void refused_or(Read&& read) {
    try {
        read();
    } catch (const MatrixError& error) {
        require(error.status == 400, "it is refused otherwise than with 400");
    }
}

void check_since(std::string_view text) {
    auto token = SyncToken::decode(text);
    if (token) require(SyncToken::decode(token->encode()) == token, "a token does not come back as it was");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    check_since(text);
    refused_or([&] { check_since(parse_query(text).since); });
    refused_or([&] {
        const MemberPageToken token = MemberPageToken::decode(text);
        require(MemberPageToken::decode(token.encode()).last == token.last, "a page of members is another one");
    });
    refused_or([&] { require(RoomListPageToken::decode(text).encode() == text, "a page of the room list is another one"); });
    return 0;
}
