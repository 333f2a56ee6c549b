#include "core/rooms/member_request.hpp"

#include <exception>
#include <functional>
#include <utility>

#include "core/classic/event.hpp"
#include "core/devices/fetch.hpp"
#include "core/json/reader.hpp"
#include "core/json/text.hpp"
#include "core/shared_work.hpp"

namespace matrix_sync {

namespace {

/// Homeservers look a large room's members up for long before they answer.
constexpr Milliseconds kHeadLimit{120'000};
constexpr std::size_t kMostError = 64 * 1024;
constexpr std::size_t kMostAtOnce = 1000;
/// Of the answer's own; what stands in an event is skipped if it is deeper than any client can read.
constexpr std::size_t kMostDepth = 100;
constexpr std::size_t kMostEventDepth = 1000;

/// `{"chunk": [event, …]}`
class MembersReader : public JsonReader::Handler {
  public:
    std::vector<Event> take() { return std::exchange(events_, {}); }
    std::size_t pending() const { return events_.size(); }
    std::vector<std::string> take_listed() { return std::exchange(listed_, {}); }
    bool none() const { return listed_.empty(); }

  private:
    using Want = JsonReader::Want;

    Want member(std::string_view name) override { return name == "chunk" ? Want::enter : Want::skip; }
    Want element() override { return entered_ == 0 ? Want::enter : Want::slice; }
    void entered(JsonKind kind) override {
        if (kind != (entered_ == 0 ? JsonKind::object : JsonKind::array)) throw JsonError("not what was asked for");
        ++entered_;
    }
    void left() override { --entered_; }
    void scalar(JsonKind) override {
        if (entered_ < 2) throw JsonError("not what was asked for");
    }
    void slice(std::string_view json, std::size_t depth) override {
        if (depth > kMostEventDepth || !is_utf8(json)) return;
        try {
            JsonCursor cursor(json);
            Event event = read_event(cursor);
            if (event.type != "m.room.member" || !event.state_key) return;
            listed_.push_back(*event.state_key);
            events_.push_back(std::move(event));
        } catch (const JsonError&) {
            // One event that is none does not hide the others.
        }
    }

    std::size_t entered_ = 0;
    std::vector<Event> events_;
    std::vector<std::string> listed_;
};

Task<void> store_some(RoomStore& store, RoomId room, std::vector<Event> members, std::int64_t asked) {
    std::vector<RoomMembers> rooms(1);
    rooms[0] = {std::move(room), std::move(members)};
    co_await store.store_members(std::move(rooms), asked);
}

/// While some are being stored the next ones are read.
Task<void> read_answer(Loop& loop, Exchange& exchange, MembersReader& members, WorkInFlight& storing,
                       std::function<Task<void>()> store_read) {
    JsonReader json(members, kMostDepth);
    for (;;) {
        std::string_view bytes = co_await within(loop, kReadLimit, exchange.read());
        if (bytes.empty()) break;
        json.feed(bytes);
        if (members.pending() >= kMostAtOnce) co_await storing.add(store_read());
        co_await loop_pause(loop);
    }
    json.finish();
    // Whoever asks is or was a member: a list of nobody is none.
    if (members.none()) throw HomeserverNonsense("a member list without members");
    co_await storing.add(store_read());
}

Task<void> store_answer(Loop& loop, RoomStore& store, RoomKey room, const RoomId& id, Exchange& exchange, std::int64_t asked) {
    MembersReader members;
    WorkInFlight storing(loop, kMemberStoresAtOnce);
    std::exception_ptr broken_off;
    try {
        co_await read_answer(loop, exchange, members, storing, [&] { return store_some(store, id, members.take(), asked); });
    } catch (const std::exception&) {
        broken_off = std::current_exception();
    }
    // Also what came before: the caller tells others whether the list is another one now.
    co_await storing.ended();
    if (broken_off) std::rethrow_exception(broken_off);
    std::vector<std::string> listed = members.take_listed();
    co_await store.end_members(room, std::move(listed), asked);
}

Task<bool> ask(Loop& loop, RoomStore& store, RoomKey room, RoomId id, Credential credential, std::int64_t now) {
    Call call{"/_matrix/client/v3/rooms/" + percent_encoded(id.value) + "/members", credential.access_token, credential.client};
    auto exchange = credential.homeserver->get(call);
    if (!exchange) throw no_connections_to_spare();
    Exchange::Head head = co_await within(loop, kHeadLimit, exchange->head());
    if (!head.from_homeserver) throw HomeserverUnavailable("nginx itself answered " + std::to_string(head.status));
    if (head.status == 403 || head.status == 404) co_return false;
    if (head.status == 429) {
        std::string body = co_await read_all(loop, *exchange, kMostError);
        throw passed_on(head.status, body);
    }
    if (head.status != 200) throw HomeserverUnavailable("the homeserver answered " + std::to_string(head.status));
    co_await store_answer(loop, store, room, id, *exchange, now);
    co_return true;
}

MatrixError not_to_be_had() {
    return {502, "M_UNKNOWN", "The homeserver does not say who the members of the room are"};
}

}  // namespace

Task<bool> request_members(Loop& loop, RoomStore& store, RoomKey room, RoomId id, Credential credential, std::int64_t now) {
    try {
        co_return co_await ask(loop, store, room, std::move(id), std::move(credential), now);
    } catch (const HomeserverUnavailable&) {
        throw not_to_be_had();
    } catch (const HomeserverNonsense&) {
        throw not_to_be_had();
    } catch (const JsonError&) {
        throw not_to_be_had();
    }
}

}  // namespace matrix_sync
