// A POST of sync v3 from its first byte to its reply.
#pragma once

#include "nginx/ngx.hpp"

namespace matrix_sync {

/// A handler of the phase before content: in locations that say matrix_sync it takes the methods that are ours; the others go on to the
/// location's own handler.
ngx_int_t take_method(ngx_http_request_t* r);

}  // namespace matrix_sync
