#include "core/devices/typing.hpp"

#include "core/classic/answer.hpp"

namespace matrix_sync {

const Typing::Typists* Typing::in(const RoomId& room) const {
    auto found = rooms_.find(room);
    return found == rooms_.end() ? nullptr : &found->second;
}

void Typing::apply(const Entry& entry) {
    bool ends = entry.section != Section::join || (entry.typing && entry.typing->empty());
    if (ends) {
        rooms_.erase(entry.room);
        return;
    }
    Milliseconds left = kExpiry - Milliseconds(entry.age_ms);
    if (!entry.typing || left <= Milliseconds{0}) return;
    auto& typists = rooms_[entry.room];
    if (typists.users != *entry.typing) typists = {entry.seq, *entry.typing, {}};
    typists.until = loop_.now() + left;
    if (expiry_.pending() && typists.until >= expiry_.at) return;
    expiry_.at = typists.until;
    loop_.arm(expiry_, left);
}

void Typing::expire() {
    auto next = Instant::max();
    bool some = false;
    for (auto room = rooms_.begin(); room != rooms_.end();) {
        if (room->second.until <= loop_.now()) {
            room = rooms_.erase(room);
            some = true;
        } else {
            next = std::min(next, room->second.until);
            ++room;
        }
    }
    if (next != Instant::max()) {
        expiry_.at = next;
        loop_.arm(expiry_, next - loop_.now());
    }
    if (some) expiry_.ended();
}

}  // namespace matrix_sync
