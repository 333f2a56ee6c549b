// What the module keeps for a request of a client.
#pragma once

#include <string>

#include "nginx/ngx.hpp"
#include "nginx/reply.hpp"

namespace matrix_sync {

class ClientRequest;

struct RequestContext {
    ClientRequest* client = nullptr;
    Facts facts;
    std::string page;            ///< sent in place of nginx's own
    bool replaces_page = false;  ///< it has not been sent yet
};

inline RequestContext* request_context(ngx_http_request_t* r) {
    return static_cast<RequestContext*>(ngx_http_get_module_ctx(r, ngx_http_matrix_sync_module));
}

/// The one there is, or a new one; nullptr: no memory.
inline RequestContext* make_request_context(ngx_http_request_t* r) {
    if (auto* context = request_context(r)) return context;
    auto* context = make_in_request<RequestContext>(r);
    if (context) ngx_http_set_ctx(r, context, ngx_http_matrix_sync_module);
    return context;
}

}  // namespace matrix_sync
