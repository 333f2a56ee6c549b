// e2ee {}: device lists, repeated until acknowledged, and key counts, which end no wait (rules 24, 25).
#include <algorithm>

#include "core/json/writer.hpp"
#include "core/streams/reading.hpp"
#include "core/streams/stream.hpp"

namespace matrix_sync {

namespace {

void write_users(JsonWriter& json, const char* key, const std::vector<DeviceListChange>& changes, bool left) {
    json.key(key).array();
    for (const auto& change : changes) {
        if (change.left == left) json.string(change.user.value);
    }
    json.end_array();
}

class E2eeStream : public Stream {
  public:
    Json params() const override { return Json::object(); }
    Cursor start(Position) const override { return {}; }
    bool continues(const Stream&) const override { return true; }
    bool shows_present() const override { return true; }

    bool has_news(const Device& device, const Cursor& cursor, Show) const override { return device.device_lists_after(cursor.at); }

    Task<Cursor> read(Reading& reading, Cursor sent, Show, std::string& out) const override {
        Device& device = reading.device;
        Position cursor = sent.at;
        KeyCounts counts = co_await device.read_key_counts();
        bool new_counts = counts.seq > cursor;
        Position end = device.end();
        std::vector<DeviceListChange> changes;
        bool looked = device.device_lists_after(cursor);
        if (looked) {
            changes = co_await device.read_device_lists(cursor);
            // The cursor stands for counts too, so it goes no further than both were read.
            std::erase_if(changes, [end](const DeviceListChange& change) { return change.seq > end; });
        }
        if (!changes.empty() || new_counts) out += answer(changes, new_counts ? counts : KeyCounts{});
        co_return Cursor{std::max(cursor, looked ? end : std::min(counts.seq, end))};
    }

  private:
    static std::string answer(const std::vector<DeviceListChange>& changes, const KeyCounts& counts) {
        JsonWriter json;
        json.object().key("device_lists").object();
        write_users(json, "changed", changes, false);
        write_users(json, "left", changes, true);
        json.end_object();
        if (counts.one_time_keys_count) json.key("device_one_time_keys_count").raw(*counts.one_time_keys_count);
        if (counts.unused_fallback_key_types) json.key("device_unused_fallback_key_types").raw(*counts.unused_fallback_key_types);
        json.end_object();
        return json.take();
    }
};

}  // namespace

std::unique_ptr<Stream> parse_e2ee(const Json& params) {
    Fields e2ee(params, "e2ee");
    return std::make_unique<E2eeStream>();
}

}  // namespace matrix_sync
