// JSON that a client sent: parsed whole, with a limit on its depth, and read field by field with errors that name the field.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace matrix_sync {

using Json = nlohmann::json;

/// A request's body. Empty is `{}`. Throws MatrixError: 400 M_NOT_JSON, or M_BAD_JSON when it is no object or nested deeper than 32.
Json parse_body(std::string_view text);

/// The fields of one object. What is missing, or null, is absent. Errors are MatrixError 400 M_BAD_JSON.
class Fields {
  public:
    /// Throws unless the value is an object. `path` is how errors name it: `room_members.p`.
    Fields(const Json& value, std::string path);

    std::string required_string(const char* key) const;
    std::optional<std::string> text(const char* key) const;
    /// At least `least`; numbers too large for 64 bits count as the largest.
    std::optional<std::int64_t> integer(const char* key, std::int64_t least) const;
    std::optional<bool> boolean(const char* key) const;
    std::optional<std::vector<std::string>> strings(const char* key, std::size_t most = std::numeric_limits<std::size_t>::max()) const;
    /// Nullptr when it is absent.
    const Json* array(const char* key) const;
    /// Any value; nullptr when it is absent.
    const Json* find(const char* key) const;
    /// The fields of an object inside; of an empty one when it is absent.
    Fields object(const char* key) const;
    [[noreturn]] void fail(const char* key, std::string_view problem) const;

  private:
    const Json& object_;
    std::string path_;
};

}  // namespace matrix_sync
