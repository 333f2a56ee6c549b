#include "core/streams/stream.hpp"

namespace matrix_sync {

const std::array<StreamKind, kStreams>& stream_kinds() {
    static constexpr std::array<StreamKind, kStreams> kinds = {{
        {"typing", parse_typing},
        {"to_device", parse_to_device},
        {"e2ee", parse_e2ee},
        {"account_data", parse_account_data},
    }};
    return kinds;
}

}  // namespace matrix_sync
