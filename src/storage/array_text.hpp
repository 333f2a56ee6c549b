// Arrays as PostgreSQL writes them: a parameter's arrays have one dimension, so a column of arrays comes as texts and is cast.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "matrix_sync/store.hpp"

namespace matrix_sync {

std::string array_text(const std::vector<EventRef>& refs);
std::string array_text(const std::vector<std::string>& texts);
/// NULL where there is none.
std::string array_text(const std::vector<std::optional<std::string>>& texts);

}  // namespace matrix_sync
