// to_device {limit}: every message until the session comes back with the token that followed it (rule 23).
#include <algorithm>

#include "core/json/writer.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

constexpr std::int64_t kDefaultMessages = 100;
constexpr std::int64_t kMostMessages = 1000;

class ToDeviceStream : public Stream {
  public:
    explicit ToDeviceStream(std::int64_t limit) : limit_(static_cast<int>(limit)) {}

    Json params() const override { return limit_ == kDefaultMessages ? Json::object() : Json{{"limit", limit_}}; }
    Cursor start(Position) const override { return {}; }
    bool continues(const Stream&) const override { return true; }
    bool shows_present() const override { return false; }

    bool has_news(const Device& device, const Cursor& cursor, Show) const override { return device.to_device_after(cursor.at); }

    Task<Cursor> read(Reading& reading, Cursor sent, Show, std::string& out) const override {
        Device& device = reading.device;
        Position cursor = sent.at;
        if (!device.to_device_after(cursor)) co_return Cursor{cursor};
        Position end = device.end();
        std::vector<ToDeviceMessage> messages = co_await device.read_to_device(cursor, limit_);
        if (messages.empty()) co_return Cursor{std::max(cursor, end)};
        JsonWriter json;
        json.object().key("events").array();
        std::size_t bytes = 0;
        auto message = messages.begin();
        for (; message != messages.end() && bytes < kMostBytes; ++message) {
            json.raw(message->body);
            bytes += message->body.size();
            cursor = message->seq;
        }
        json.end_array().key("limit").number(limit_).end_object();
        out += json.take();
        bool all = message == messages.end() && messages.size() < static_cast<std::size_t>(limit_);
        co_return Cursor{all ? std::max(cursor, end) : cursor};
    }

  private:
    int limit_;
};

}  // namespace

std::unique_ptr<Stream> parse_to_device(const Json& params) {
    auto limit = Fields(params, "to_device").integer("limit", 1).value_or(kDefaultMessages);
    return std::make_unique<ToDeviceStream>(std::min(limit, kMostMessages));
}

}  // namespace matrix_sync
