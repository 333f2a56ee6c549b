// The internal location that polls run in, as configuration text of our own: everything about connections, TLS and balancing is nginx's.
#pragma once

#include "nginx/directives.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

/// What is wrong with the URL of `matrix_sync`, or nullptr.
const char* refuse_url(std::string_view url);

/// Writes a named location with a proxy_pass to `url` into the server around the directive that is being parsed. Nullptr: the error has
/// been logged.
PollLocation* generate_poll_location(ngx_conf_t* cf, std::string_view url);

/// Remembers the operator's own.
PollLocation* own_poll_location(ngx_conf_t* cf, ngx_str_t name);

}  // namespace matrix_sync
