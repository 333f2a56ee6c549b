#include "nginx/error_page.hpp"

#include "nginx/directives.hpp"
#include "nginx/ngx.hpp"
#include "nginx/reply.hpp"
#include "nginx/request_context.hpp"

namespace matrix_sync {

namespace {

ngx_http_output_header_filter_pt next_header_filter;
ngx_http_output_body_filter_pt next_body_filter;

bool is_page_of_nginx(ngx_http_request_t* r) {
    return r == r->main && r->method == NGX_HTTP_POST && r->headers_out.status >= NGX_HTTP_BAD_REQUEST && !r->upstream &&
           location_conf(r).enabled && view(r->headers_out.content_type) == "text/html";
}

Reply reply_instead(ngx_uint_t status) {
    int code = static_cast<int>(status);
    switch (status) {
        case NGX_HTTP_FORBIDDEN:
            return error_reply(code, "M_FORBIDDEN", "This server refuses the request");
        case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
            return error_reply(code, "M_TOO_LARGE", "The request body is larger than this server takes");
        case NGX_HTTP_TOO_MANY_REQUESTS:
            return error_reply(code, "M_LIMIT_EXCEEDED", "Too many requests", Milliseconds{1000});
        default:
            return error_reply(code, "M_UNKNOWN", "This server cannot answer the request");
    }
}

ngx_int_t filter_header(ngx_http_request_t* r) {
    if (!is_page_of_nginx(r)) return next_header_filter(r);
    return guard(r->connection->log, ngx_int_t{NGX_ERROR}, [&] {
        auto* context = make_request_context(r);
        if (!context) return ngx_int_t{NGX_ERROR};
        Reply reply = reply_instead(r->headers_out.status);
        if (!set_reply_headers(r, reply)) return ngx_int_t{NGX_ERROR};
        context->page = std::move(reply.body);
        context->replaces_page = true;
        return next_header_filter(r);
    });
}

ngx_int_t filter_body(ngx_http_request_t* r, ngx_chain_t* in) {
    auto* context = request_context(r);
    if (!context || !context->replaces_page) return next_body_filter(r, in);
    bool last = false;
    for (; in; in = in->next) {
        in->buf->pos = in->buf->last;
        last = last || in->buf->last_buf;
    }
    if (!last) return NGX_OK;
    context->replaces_page = false;
    ngx_buf_t* buffer = last_buffer(r, context->page);
    if (!buffer) return NGX_ERROR;
    ngx_chain_t out{buffer, nullptr};
    return next_body_filter(r, &out);
}

}  // namespace

void add_error_page_filters() {
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = filter_header;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = filter_body;
}

}  // namespace matrix_sync
