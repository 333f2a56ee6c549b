// Events as they go into an answer.
#pragma once

#include <string>
#include <string_view>

namespace matrix_sync {

/// The event with `unsigned.transaction_id`: for the device that sent it. Client-server specification, "Local echo".
std::string with_transaction_id(std::string_view event, std::string_view transaction_id);

/// The event without `unsigned.redacted_because`: for who has left since, and is not to be shown the redaction itself.
std::string without_redaction(const std::string& event);

}  // namespace matrix_sync
