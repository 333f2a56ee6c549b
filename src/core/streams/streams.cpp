#include "core/streams/stream.hpp"

#include <stdexcept>

namespace matrix_sync {

Task<void> Stream::read_page(Reading&, std::string, std::string&) const {
    throw std::logic_error("a stream without pages");
}

const std::array<StreamKind, kStreams>& stream_kinds() {
    static constexpr std::array<StreamKind, kStreams> kinds = {{
        {"typing", false, parse_typing},
        {"to_device", false, parse_to_device},
        {"e2ee", false, parse_e2ee},
        {"account_data", false, parse_account_data},
        {"room_members", true, parse_room_members},
        {"room", false, parse_room},
        {"room_list", true, parse_room_list},
    }};
    return kinds;
}

}  // namespace matrix_sync
