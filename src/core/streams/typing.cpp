// typing {room_id}: who types in one room now, if that changed. The cursor is where the log last said so, 0 when the client knows of
// nobody.
#include "core/json/writer.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

class TypingStream : public Stream {
  public:
    explicit TypingStream(RoomId room) : room_(std::move(room)) {}

    Json params() const override { return {{"room_id", room_.value}}; }
    Cursor start(Position) const override { return {}; }
    bool continues(const Stream& before) const override { return static_cast<const TypingStream&>(before).room_ == room_; }
    bool shows_present() const override { return true; }

    bool has_news(const Device& device, const Cursor& cursor, Show) const override { return now(device) != cursor.at; }

    Task<Cursor> read(Reading& reading, Cursor sent, Show, std::string& out) const override {
        Device& device = reading.device;
        Position cursor = sent.at;
        Position present = now(device);
        if (present != cursor) out += event(device);
        co_return Cursor{present};
    }

  private:
    Position now(const Device& device) const {
        const auto* typists = device.typing().in(room_);
        return typists ? typists->since : Position{};
    }

    std::string event(const Device& device) const {
        JsonWriter json;
        json.object().key("events").array().object();
        json.key("type").string("m.typing");
        json.key("room_id").string(room_.value);
        json.key("content").object().key("user_ids").array();
        if (const auto* typists = device.typing().in(room_)) {
            for (const auto& user : typists->users) json.string(user);
        }
        json.end_array().end_object().end_object().end_array().end_object();
        return json.take();
    }

    RoomId room_;
};

}  // namespace

std::unique_ptr<Stream> parse_typing(const Json& params) {
    return std::make_unique<TypingStream>(RoomId(Fields(params, "typing").required_string("room_id")));
}

}  // namespace matrix_sync
