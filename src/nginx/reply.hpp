// An answer of ours to a client: JSON, with the headers that the client-server specification wants on every response ("Web Browser
// Clients").
#pragma once

#include "matrix_sync/service.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

/// The result is for ngx_http_finalize_request(). `type` has to live as long as the request.
ngx_int_t send_reply(ngx_http_request_t* r, Reply reply, std::string_view type = "application/json");

/// Status, content type, length and headers of it.
bool set_reply_headers(ngx_http_request_t* r, const Reply& reply, std::string_view type = "application/json");
/// The whole and only buffer of a response's body, which has to live as long as the request.
ngx_buf_t* last_buffer(ngx_http_request_t* r, std::string& body);

/// A header of the response; the texts have to live as long as the request.
bool add_response_header(ngx_http_request_t* r, std::string_view name, std::string_view value);

/// Makes an object that lives as long as the request. Nullptr: no memory.
template <class Object>
Object* make_in_request(ngx_http_request_t* r) {
    auto* cleanup = ngx_pool_cleanup_add(r->pool, sizeof(Object));
    if (!cleanup) return nullptr;
    auto* object = new (cleanup->data) Object();
    cleanup->handler = [](void* data) { static_cast<Object*>(data)->~Object(); };
    return object;
}

}  // namespace matrix_sync
