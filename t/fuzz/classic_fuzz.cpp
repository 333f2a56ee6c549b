// The classic parser: whatever comes, it either says that it is nonsense or gives rooms, and how the bytes are cut makes no difference.
// The first byte of the input is how many bytes are fed at a time.
#include "../unit/room_at_once.hpp"
#include "core/classic/parser.hpp"
#include "fuzz.hpp"
#include "matrix_sync/error.hpp"

using namespace matrix_sync;

namespace {

struct Parsed {
    bool nonsense = false;
    std::vector<RoomPart> rooms;
    AnswerRest rest;

    bool operator==(const Parsed&) const = default;
};

void take(ClassicParser& parser, Parsed& parsed) {
    for (RawRoom& room : parser.take_rooms()) parsed.rooms.push_back(room_at_once(std::move(room)));
}

/// What came before the nonsense depends on how far the parser had got.
Parsed parse(std::string_view bytes, std::size_t step) {
    Parsed parsed;
    try {
        ClassicParser parser;
        for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
            parser.feed(bytes.substr(0, step));
            take(parser, parsed);
        }
        parser.finish();
        take(parser, parsed);
        parsed.rest = parser.take_rest();
    } catch (const HomeserverNonsense&) {
        parsed = {};
        parsed.nonsense = true;
    }
    return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
    Parsed whole = parse(bytes, bytes.size());
    Parsed cut = parse(bytes, std::size_t{1} + data[0]);
    require(whole == cut, "the answer is read otherwise when it is cut otherwise");
    for (const RoomPart& room : whole.rooms) {
        RoomPart again = room_at_once(room.room, room.section, room.raw);
        require(again == room, "a room that was set aside is read otherwise");
    }
    return 0;
}
