// $matrix_sync_user and its kin: what an access log may say of a request that the module answers.
#pragma once

#include "nginx/ngx.hpp"

namespace matrix_sync {

ngx_int_t add_variables(ngx_conf_t* cf);

}  // namespace matrix_sync
