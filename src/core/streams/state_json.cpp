#include "core/streams/state_json.hpp"

#include <algorithm>

#include "core/json/text.hpp"
#include "core/json/writer.hpp"
#include "core/log/state.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

constexpr std::string_view kAny = "*";
constexpr std::string_view kMember = "m.room.member";
/// Each is tried for each event of a room's state.
constexpr std::size_t kMostPairs = 200;

bool allows(const std::string& wanted, const std::string& text) {
    return wanted == kAny || wanted == text;
}

}  // namespace

RequiredState::RequiredState(const Fields& fields, RequiredState otherwise) {
    const Json* list = fields.array("required_state");
    if (!list) {
        pairs_ = std::move(otherwise.pairs_);
        return;
    }
    if (list->size() > kMostPairs) fields.fail("required_state", "expected at most " + std::to_string(kMostPairs));
    for (const Json& pair : *list) {
        const bool is_pair = pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string();
        if (!is_pair) fields.fail("required_state", "expected an array of [type, state_key]");
        pairs_.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
    }
}

RequiredState RequiredState::everything() {
    RequiredState all;
    all.pairs_.emplace_back(kAny, kAny);
    return all;
}

bool RequiredState::names(const StateName& name) const {
    return std::ranges::any_of(pairs_, [&](const auto& pair) { return allows(pair.first, name.type) && allows(pair.second, name.key); });
}

bool RequiredState::all_members() const {
    return std::ranges::any_of(pairs_, [](const auto& pair) { return pair.first == kMember && pair.second == kAny; });
}

std::set<std::string> RequiredState::members() const {
    std::set<std::string> users;
    for (const auto& [type, key] : pairs_) {
        // Nobody is called what PostgreSQL cannot hold.
        if (type == kMember && key != kAny && is_storable(key)) users.insert(key);
    }
    return users;
}

Json RequiredState::params() const {
    Json list = Json::array();
    for (const auto& [type, key] : pairs_) list.push_back({type, key});
    return list;
}

Task<std::vector<std::string>> state_events(Reading& reading, RequiredState required, StateKey now, StateKey before) {
    std::vector<std::string> events;
    if (required.empty() || now == before) co_return events;
    RoomCache::StatePtr state = co_await reading.cache.state(now);
    RoomCache::StatePtr old = co_await reading.cache.state(before);
    std::vector<EventRef> refs;
    for (const auto& [name, ref] : *state) {
        if (!required.names(name)) continue;
        auto same = old->find(name);
        if (same == old->end() || same->second != ref) refs.push_back(ref);
    }
    auto found = co_await reading.device.read_events(refs);
    for (EventRef ref : refs) {
        if (auto event = found.find(ref); event != found.end()) events.push_back(event->second->body);
    }
    co_return events;
}

Task<std::vector<std::string>> member_events(Reading& reading, RoomKey room, std::set<std::string> users) {
    std::vector<std::string> events;
    if (users.empty()) co_return events;
    std::vector<std::string> names(users.begin(), users.end());
    auto members = co_await reading.device.read_members(room, std::move(names));
    std::vector<EventRef> refs;
    refs.reserve(members.size());
    for (const auto& [user, member] : members) refs.push_back(member.ref);
    auto found = co_await reading.device.read_events(std::move(refs));
    events.reserve(found.size());
    for (const auto& [ref, event] : found) events.push_back(event->body);
    co_return events;
}

std::string events_json(const std::vector<std::string>& events) {
    JsonWriter json;
    json.object().key("events").array();
    for (const std::string& event : events) json.raw(event);
    json.end_array().end_object();
    return json.take();
}

}  // namespace matrix_sync
