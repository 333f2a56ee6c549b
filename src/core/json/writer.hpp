// Writes JSON text, one value after another. Append-only: what is written is never read again. What came as JSON is spliced in as it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace matrix_sync {

/// `value` as a JSON string with its quotes, appended to `out`. UTF-8 stays as it is; what is no UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view value);

class JsonWriter {
  public:
    JsonWriter() { out_.reserve(512); }

    JsonWriter& object() { return open('{'); }
    JsonWriter& end_object() { return close('}'); }
    JsonWriter& array() { return open('['); }
    JsonWriter& end_array() { return close(']'); }
    /// Before each value of an object.
    JsonWriter& key(std::string_view name);
    JsonWriter& string(std::string_view value);
    JsonWriter& number(std::int64_t value);
    JsonWriter& boolean(bool value) { return raw(value ? "true" : "false"); }
    JsonWriter& null() { return raw("null"); }
    /// One whole value that is JSON already.
    JsonWriter& raw(std::string_view json);

    std::size_t size() const { return out_.size(); }
    /// What was written; the writer is then as new.
    std::string take();

  private:
    JsonWriter& open(char bracket);
    JsonWriter& close(char bracket);
    void separate();

    std::string out_;
    bool comma_ = false;  // a value stands before, in the same object or array
};

}  // namespace matrix_sync
