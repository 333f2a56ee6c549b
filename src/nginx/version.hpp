// The version of the module, as the status page shows it.
#pragma once

#include <string_view>

namespace matrix_sync {

inline constexpr std::string_view module_version = "0.1.0";

}  // namespace matrix_sync
