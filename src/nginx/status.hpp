// What `matrix_sync_status` shows: the figures of all workers of this host, as JSON or in Prometheus' text format, for operators and for
// tests that wait for a condition.
#pragma once

#include "nginx/ngx.hpp"

namespace matrix_sync {

/// The content handler.
ngx_int_t serve_status(ngx_http_request_t* r);

}  // namespace matrix_sync
