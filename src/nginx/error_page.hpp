// What nginx itself refuses before sync v3 sees it (access rules, limits, broken bodies) is refused in JSON too: clients read an errcode,
// not a page. Error pages that the operator has configured are left alone.
#pragma once

namespace matrix_sync {

/// Called once, while the configuration is read.
void add_error_page_filters();

}  // namespace matrix_sync
