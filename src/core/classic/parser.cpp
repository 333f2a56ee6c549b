#include "core/classic/parser.hpp"

#include <optional>
#include <utility>

#include "core/classic/event.hpp"
#include "core/json/reader.hpp"
#include "core/json/text.hpp"
#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

using Want = JsonReader::Want;

constexpr std::size_t deepest_answer = 100;
/// nginx and most homeservers take a request's line of 8 kB.
constexpr std::size_t longest_batch = 6 * 1024;

// Where in the answer the reader is. What is entered: the answer; `rooms`, and in it a section; `to_device` or `account_data`, and in it
// `events`.
enum class Place { outside, answer, rooms, section, to_device, to_device_events, account_data, account_data_events };

[[noreturn]] void wrong(const char* what) {
    throw HomeserverNonsense(std::string("the sync answer's ") + what);
}

std::optional<Section> section_named(std::string_view name) {
    if (name == "join") return Section::join;
    if (name == "leave") return Section::leave;
    if (name == "invite") return Section::invite;
    if (name == "knock") return Section::knock;
    return std::nullopt;
}

std::vector<UserId> read_users(JsonCursor& cursor) {
    std::vector<UserId> users;
    if (cursor.kind() == JsonKind::null) return users;
    cursor.array("device_lists", [&](JsonCursor& value) {
        std::string user = value.text("device_lists");
        // Nobody has such a name, and no index takes it.
        if (is_identifier(user)) users.emplace_back(std::move(user));
    });
    return users;
}

std::optional<std::string> raw_if_any(JsonCursor& cursor, JsonKind kind, const std::string& name) {
    if (cursor.kind() == JsonKind::null) return std::nullopt;
    return std::string(cursor.slice(kind, name.c_str()));
}

}  // namespace

struct ClassicParser::Impl : JsonReader::Handler {
    Impl() : reader(*this, deepest_answer) {}

    Want member(std::string_view name) override;
    Want element() override;
    void entered(JsonKind kind) override;
    void left() override;
    void slice(std::string_view json, std::size_t depth) override;
    void scalar(JsonKind kind) override;

    Want answer_member(std::string_view name);
    Want enter(Place place, JsonKind kind = JsonKind::object);
    void take_room(std::string_view json, std::size_t depth);
    void take_answer_member(std::string_view json, std::size_t depth);
    void take_account_data(JsonCursor& cursor);
    void take_device_lists(JsonCursor& cursor);
    template <class Step>
    void run(Step step);

    JsonReader reader;
    std::vector<Place> path{Place::outside};
    Place next = Place::answer;  // what the value is that will be entered
    JsonKind next_kind = JsonKind::object;
    std::string name;  // of the value that will be sliced

    Section section = Section::join;
    std::vector<RawRoom> rooms;
    std::size_t room_bytes = 0;
    AnswerRest rest;
};

Want ClassicParser::Impl::member(std::string_view member_name) {
    switch (path.back()) {
        case Place::answer:
            return answer_member(member_name);
        case Place::rooms: {
            auto named = section_named(member_name);
            if (!named) return Want::skip;
            section = *named;
            return enter(Place::section);
        }
        case Place::section:
            name = storable_text(member_name);
            return is_identifier(name) ? Want::slice : Want::skip;
        case Place::to_device:
            if (member_name != "events") return Want::skip;
            rest.to_device.clear();
            return enter(Place::to_device_events, JsonKind::array);
        case Place::account_data:
            if (member_name != "events") return Want::skip;
            rest.account_data.clear();
            return enter(Place::account_data_events, JsonKind::array);
        default:
            return Want::skip;
    }
}

Want ClassicParser::Impl::answer_member(std::string_view member_name) {
    if (member_name == "rooms") return enter(Place::rooms);
    if (member_name == "to_device") return enter(Place::to_device);
    if (member_name == "account_data") return enter(Place::account_data);
    for (auto known : {"next_batch", "device_lists", "device_one_time_keys_count", "device_unused_fallback_key_types",
                       "org.matrix.msc2732.device_unused_fallback_key_types"}) {
        if (member_name != known) continue;
        name = member_name;
        return Want::slice;
    }
    return Want::skip;
}

Want ClassicParser::Impl::enter(Place place, JsonKind kind) {
    next = place;
    next_kind = kind;
    return Want::enter;
}

Want ClassicParser::Impl::element() {
    return path.back() == Place::outside ? enter(Place::answer) : Want::slice;
}

void ClassicParser::Impl::entered(JsonKind kind) {
    if (kind != next_kind) wrong("structure: an object for an array, or the other way round");
    path.push_back(next);
}

void ClassicParser::Impl::left() {
    path.pop_back();
}

void ClassicParser::Impl::scalar(JsonKind kind) {
    // Some servers write null for what is absent.
    bool absent = kind == JsonKind::null && next != Place::answer && path.back() != Place::to_device_events &&
                  path.back() != Place::account_data_events;
    if (!absent) wrong("structure: neither object nor array where one should be");
}

void ClassicParser::Impl::slice(std::string_view json, std::size_t depth) {
    if (path.back() == Place::section) return take_room(json, depth);
    if (!is_utf8(json)) wrong("text: not UTF-8");
    if (path.back() == Place::answer) return take_answer_member(json, depth);
    JsonCursor cursor(json);
    if (path.back() == Place::to_device_events) {
        rest.to_device.emplace_back(cursor.slice(JsonKind::object, "to_device"));
    } else {
        take_account_data(cursor);
    }
}

void ClassicParser::Impl::take_room(std::string_view json, std::size_t depth) {
    room_bytes += json.size();
    rooms.push_back({RoomId{name}, section, std::string(json), depth});
}

void ClassicParser::Impl::take_account_data(JsonCursor& cursor) {
    AnswerRest::AccountData event;
    const char* begin = cursor.position();
    std::optional<std::string> type;
    cursor.object("account_data", [&](std::string_view member_name, JsonCursor& value) {
        if (member_name == "type") type = value.text("account_data.type");
    });
    if (!type) wrong("account_data: an event without a type");
    // Nobody but the user can have made a type that no index takes.
    if (!is_identifier(*type)) return;
    event.type = std::move(*type);
    event.body.assign(begin, cursor.value_end());
    rest.account_data.push_back(std::move(event));
}

void ClassicParser::Impl::take_answer_member(std::string_view json, std::size_t depth) {
    if (depth >= deepest_answer) wrong("text: too deep");
    JsonCursor cursor(json);
    if (name == "next_batch") {
        rest.next_batch = cursor.text("next_batch");
        if (rest.next_batch.find(replacement_character) != std::string::npos) wrong("next_batch: characters that no token has");
        if (rest.next_batch.size() > longest_batch) wrong("next_batch: longer than a request can hold");
    } else if (name == "device_lists") {
        take_device_lists(cursor);
    } else if (name == "device_one_time_keys_count") {
        rest.one_time_keys_count = raw_if_any(cursor, JsonKind::object, name);
    } else {
        rest.unused_fallback_key_types = raw_if_any(cursor, JsonKind::array, name);
    }
}

void ClassicParser::Impl::take_device_lists(JsonCursor& cursor) {
    rest.device_lists_changed.clear();
    rest.device_lists_left.clear();
    if (cursor.kind() == JsonKind::null) return;
    cursor.object("device_lists", [&](std::string_view member_name, JsonCursor& value) {
        if (member_name == "changed") rest.device_lists_changed = read_users(value);
        if (member_name == "left") rest.device_lists_left = read_users(value);
    });
}

template <class Step>
void ClassicParser::Impl::run(Step step) {
    try {
        step();
    } catch (const JsonError& error) {
        throw HomeserverNonsense(std::string("the sync answer: ") + error.what());
    }
}

ClassicParser::ClassicParser() : impl_(std::make_unique<Impl>()) {}
ClassicParser::~ClassicParser() = default;

void ClassicParser::feed(std::string_view bytes) {
    impl_->run([&] { impl_->reader.feed(bytes); });
}

void ClassicParser::finish() {
    impl_->run([&] { impl_->reader.finish(); });
    if (impl_->rest.next_batch.empty()) wrong("next_batch: missing");
}

std::vector<RawRoom> ClassicParser::take_rooms() {
    impl_->room_bytes = 0;
    return std::exchange(impl_->rooms, {});
}

std::size_t ClassicParser::pending_bytes() const {
    return impl_->room_bytes;
}

AnswerRest ClassicParser::take_rest() {
    return std::move(impl_->rest);
}

}  // namespace matrix_sync
