// What `matrix_sync_status` shows: this worker's state, as JSON, for operators and for tests that wait for a condition.
#pragma once

#include "nginx/ngx.hpp"

namespace matrix_sync {

/// The content handler.
ngx_int_t serve_status(ngx_http_request_t* r);

}  // namespace matrix_sync
