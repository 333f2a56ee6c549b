#include "core/matrix/space_order.hpp"

#include <algorithm>
#include <tuple>

#include "core/matrix/content.hpp"

namespace matrix_sync {

namespace {

bool is_order(std::string_view text) {
    constexpr std::size_t longest = 50;
    return !text.empty() && text.size() <= longest &&
           std::all_of(text.begin(), text.end(), [](char character) { return character >= '\x20' && character <= '\x7E'; });
}

}  // namespace

std::optional<SpaceChild> read_space_child(std::string_view event, std::string_view state_key) {
    JsonValue content = event_content(event);
    JsonTexts via = json_texts(json_member(content, "via"));
    if (via.elements == 0 || via.texts.size() != via.elements) return std::nullopt;
    SpaceChild child;
    child.room = RoomId(std::string(state_key));
    child.order = json_text(json_member(content, "order"));
    if (child.order && !is_order(*child.order)) child.order.reset();
    child.origin_server_ts = json_integer(json_member(event, "origin_server_ts")).value_or(0);
    return child;
}

bool before(const SpaceChild& one, const SpaceChild& other) {
    if (one.order.has_value() != other.order.has_value()) return one.order.has_value();
    return std::tie(one.order, one.origin_server_ts, one.room) < std::tie(other.order, other.origin_server_ts, other.room);
}

}  // namespace matrix_sync
