// account_data {}: the user's global account data, all at first, then what changed.
#include <algorithm>

#include "core/json/writer.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

class AccountDataStream : public Stream {
  public:
    Json params() const override { return Json::object(); }
    Cursor start(Position) const override { return {}; }
    bool continues(const Stream&) const override { return true; }
    bool shows_present() const override { return true; }

    bool has_news(const Device& device, const Cursor& cursor, Show) const override { return device.account_data_after(cursor.at); }

    Task<Cursor> read(Reading& reading, Cursor sent, Show, std::string& out) const override {
        Device& device = reading.device;
        Position cursor = sent.at;
        if (!device.account_data_after(cursor)) co_return Cursor{cursor};
        Position end = device.end();
        std::vector<AccountDataEvent> events = co_await device.read_account_data(cursor);
        if (events.empty()) co_return Cursor{std::max(cursor, end)};
        JsonWriter json;
        json.object().key("events").array();
        for (const auto& event : events) json.raw(event.body);
        json.end_array().end_object();
        out += json.take();
        co_return Cursor{std::max(events.back().seq, end)};
    }
};

}  // namespace

std::unique_ptr<Stream> parse_account_data(const Json& params) {
    Fields account_data(params, "account_data");
    return std::make_unique<AccountDataStream>();
}

}  // namespace matrix_sync
