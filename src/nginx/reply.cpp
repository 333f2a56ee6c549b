#include "nginx/reply.hpp"

namespace matrix_sync {

namespace {

bool add_headers(ngx_http_request_t* r, const Reply& reply) {
    if (!add_response_header(r, "Access-Control-Allow-Origin", "*") ||
        !add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS") ||
        !add_response_header(r, "Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization")) {
        return false;
    }
    if (!reply.retry_after_s) return true;
    auto* value = static_cast<u_char*>(ngx_pnalloc(r->pool, NGX_INT_T_LEN));
    if (!value) return false;
    auto* end = ngx_sprintf(value, "%d", *reply.retry_after_s);
    return add_response_header(r, "Retry-After", {reinterpret_cast<char*>(value), static_cast<std::size_t>(end - value)});
}

}  // namespace

bool add_response_header(ngx_http_request_t* r, std::string_view name, std::string_view value) {
    auto* header = static_cast<ngx_table_elt_t*>(ngx_list_push(&r->headers_out.headers));
    if (!header) return false;
    *header = {};
    header->hash = 1;
    header->key = ngx_text(name);
    header->value = ngx_text(value);
    return true;
}

bool set_reply_headers(ngx_http_request_t* r, const Reply& reply, std::string_view type) {
    r->disable_not_modified = 1;  // nothing about it is the same as before
    r->headers_out.status = static_cast<ngx_uint_t>(reply.status);
    r->headers_out.content_length_n = static_cast<off_t>(reply.body.size());
    r->headers_out.content_type = ngx_text(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = nullptr;
    return add_headers(r, reply);
}

ngx_buf_t* last_buffer(ngx_http_request_t* r, std::string& body) {
    auto* buffer = static_cast<ngx_buf_t*>(ngx_calloc_buf(r->pool));
    if (!buffer) return nullptr;
    buffer->start = buffer->pos = reinterpret_cast<u_char*>(body.data());
    buffer->end = buffer->last = buffer->start + body.size();
    buffer->memory = !body.empty();
    buffer->last_buf = buffer->last_in_chain = 1;
    return buffer;
}

ngx_int_t send_reply(ngx_http_request_t* r, Reply reply, std::string_view type) {
    auto* body = make_in_request<std::string>(r);
    if (!body || !set_reply_headers(r, reply, type)) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    *body = std::move(reply.body);
    ngx_buf_t* buffer = last_buffer(r, *body);
    if (!buffer) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_int_t rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) return rc;
    ngx_chain_t out{buffer, nullptr};
    return ngx_http_output_filter(r, &out);
}

}  // namespace matrix_sync
