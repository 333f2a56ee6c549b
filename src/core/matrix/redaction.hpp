// What is left of an event once it has been redacted: client-server specification, "Redactions", and the room version's own page.
#pragma once

#include <string>
#include <string_view>

namespace matrix_sync {

/// `event_body` without what rooms of this version do not protect, and with the redaction in its `unsigned`. All three are JSON objects (of
/// which a parser has made sure), but the version: one that nobody knows yet counts as the newest. What is kept keeps its bytes.
/// Throws JsonError when it is given anything else.
std::string redact(std::string_view event_body, std::string_view room_version, std::string_view redacted_because);

}  // namespace matrix_sync
