// The filters stand before nginx's own: what they take never reaches a socket.
#include "nginx/poll_request.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace matrix_sync {

namespace {

/// What lives as long as the connection, in its pool.
struct FakeClient {
    ngx_http_connection_t http;  // first: nginx takes r->http_connection for one of these
    ngx_log_t log;
    ngx_http_log_ctx_t log_context;
    ngx_buf_t no_input;
    struct sockaddr_in address;
    PollEvents* events;  ///< nullptr: aborted
};

ngx_http_output_header_filter_pt next_header_filter;
ngx_http_output_body_filter_pt next_body_filter;

ngx_chain_t* send_chain_nowhere(ngx_connection_t* c, ngx_chain_t*, off_t) {
    c->error = 1;
    return NGX_CHAIN_ERROR;
}
ssize_t send_nowhere(ngx_connection_t*, u_char*, size_t) {
    return NGX_ERROR;
}
ssize_t receive_nothing(ngx_connection_t*, u_char*, size_t) {
    return NGX_AGAIN;
}
void no_event(ngx_event_t* event) {
    if (static_cast<ngx_connection_t*>(event->data)->close) return;  // worker_shutdown_timeout: all connections are told
    ngx_log_error(NGX_LOG_ERR, event->log, 0, "matrix_sync: an event on a connection that leads nowhere");
}

/// Behind an error's text: what was being done, and with which upstream.
u_char* describe(ngx_log_t* log, u_char* buffer, size_t length) {
    if (log->action) {
        u_char* end = ngx_snprintf(buffer, length, " while %s", log->action);
        length -= static_cast<size_t>(end - buffer);
        buffer = end;
    }
    auto* context = static_cast<ngx_http_log_ctx_t*>(log->data);
    ngx_http_request_t* r = context->request;
    return r ? r->log_handler(r, context->current_request, buffer, length) : buffer;
}

/// Redirects wipe module contexts; the connection stays.
FakeClient* fake_client(ngx_http_request_t* r) {
    if (r->connection->send_chain != send_chain_nowhere) return nullptr;
    return reinterpret_cast<FakeClient*>(r->main->http_connection);
}

ngx_int_t filter_header(ngx_http_request_t* r) {
    auto* fake = fake_client(r);
    if (!fake) return next_header_filter(r);
    if (!fake->events) return NGX_ERROR;
    r->header_sent = 1;
    r->filter_need_in_memory = 1;
    auto status = r->headers_out.status;
    // A status line that was followed by nonsense counts for nothing: nginx answers 502 then.
    bool from_homeserver = r->upstream && r->upstream->headers_in.status_n == status;
    return guard(r->connection->log, ngx_int_t{NGX_ERROR}, [&] {
        fake->events->head(static_cast<int>(status), from_homeserver);
        return ngx_int_t{NGX_OK};
    });
}

ngx_int_t filter_body(ngx_http_request_t* r, ngx_chain_t* in) {
    auto* fake = fake_client(r);
    if (!fake) return next_body_filter(r, in);
    if (!fake->events) return NGX_ERROR;
    return guard(r->connection->log, ngx_int_t{NGX_ERROR}, [&] {
        for (; in; in = in->next) {
            ngx_buf_t* buffer = in->buf;
            if (ngx_buf_in_memory(buffer) && buffer->pos < buffer->last) fake->events->body(buffer);
            if (buffer->in_file) buffer->file_pos = buffer->file_last;
            if (buffer->last_buf) fake->events->whole();
        }
        return ngx_int_t{NGX_OK};
    });
}

void on_request_gone(void* data) {
    auto* fake = static_cast<FakeClient*>(data);
    guard(ngx_cycle->log, [&] {
        if (auto* events = std::exchange(fake->events, nullptr)) events->ended();
    });
}

ngx_str_t copy(ngx_pool_t* pool, std::string_view text) {
    ngx_str_t source = ngx_text(text);
    return {text.size(), ngx_pstrdup(pool, &source)};
}

ngx_table_elt_t* add_header(ngx_http_request_t* r, std::string_view name, std::string_view lowercase, std::string_view value) {
    auto* header = static_cast<ngx_table_elt_t*>(ngx_list_push(&r->headers_in.headers));
    if (!header) return nullptr;
    *header = {};
    header->key = ngx_text(name);
    header->lowcase_key = ngx_text(lowercase).data;
    header->hash = ngx_hash_key(header->lowcase_key, lowercase.size());
    header->value = copy(r->pool, value);
    return header->value.data ? header : nullptr;
}

bool add_forwarded_for(ngx_http_request_t* r, std::string_view value) {
    auto* header = add_header(r, "X-Forwarded-For", "x-forwarded-for", value);
    if (!header) return false;
#if (nginx_version >= 1023000)
    r->headers_in.x_forwarded_for = header;
    return true;
#else
    if (ngx_array_init(&r->headers_in.x_forwarded_for, r->pool, 1, sizeof(ngx_table_elt_t*)) != NGX_OK) return false;
    auto** slot = static_cast<ngx_table_elt_t**>(ngx_array_push(&r->headers_in.x_forwarded_for));
    if (slot) *slot = header;
    return slot != nullptr;
#endif
}

bool add_headers(ngx_http_request_t* r, const Call& call) {
    if (ngx_list_init(&r->headers_in.headers, r->pool, 8, sizeof(ngx_table_elt_t)) != NGX_OK) return false;
    const Client& client = call.client;
    if (!(r->headers_in.host = add_header(r, "Host", "host", client.host))) return false;
    r->headers_in.server = r->headers_in.host->value;
    if (!client.user_agent.empty() && !(r->headers_in.user_agent = add_header(r, "User-Agent", "user-agent", client.user_agent)))
        return false;
    if (!add_forwarded_for(r, client.address)) return false;
    if (!add_header(r, "X-Forwarded-Proto", "x-forwarded-proto", client.protocol)) return false;
    r->headers_in.authorization = add_header(r, "Authorization", "authorization", "Bearer " + call.access_token);
    return r->headers_in.authorization != nullptr;
}

bool fill(ngx_http_request_t* r, const Call& call) {
    auto question = call.target.find('?');
    r->uri = copy(r->pool, std::string_view(call.target).substr(0, question));
    if (question != std::string::npos) r->args = copy(r->pool, std::string_view(call.target).substr(question + 1));
    r->unparsed_uri = copy(r->pool, call.target);
    r->valid_unparsed_uri = 1;  // proxy_pass sends it as it is, and does not encode it once more
    if (!r->uri.data || !r->unparsed_uri.data || (question != std::string::npos && !r->args.data)) return false;
    // $remote_addr: whoever is behind the last proxy.
    std::string_view address = call.client.address;
    if (auto comma = address.rfind(", "); comma != std::string_view::npos) address.remove_prefix(comma + 2);
    r->connection->addr_text = copy(r->pool, address);

    r->write_event_handler = ngx_http_request_empty_handler;  // without one, an aborted request is never freed
    r->http_state = NGX_HTTP_PROCESS_REQUEST_STATE;
    r->method = NGX_HTTP_GET;
    r->method_name = ngx_http_core_get_method;
    r->http_protocol = ngx_text("HTTP/1.1");
    r->http_version = NGX_HTTP_VERSION_11;
    r->headers_in.connection_type = NGX_HTTP_CONNECTION_CLOSE;
    r->internal = 1;
    r->error_page = 1;        // what the server shows its clients instead of an error is not for us
    r->limit_req_status = 1;  // passed: limits are the clients'
    r->limit_conn_status = 1;
    return add_headers(r, call);
}

ngx_connection_t* fake_connection(FakeClient*& fake) {
    // A real descriptor, so that nginx closes it as it closes every other.
    int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd == -1) return nullptr;
    ngx_connection_t* c = ngx_get_connection(fd, ngx_cycle->log);
    if (!c) {
        ::close(fd);
        return nullptr;
    }
    c->pool = ngx_create_pool(sizeof(FakeClient) + 256, ngx_cycle->log);
    fake = c->pool ? static_cast<FakeClient*>(ngx_pcalloc(c->pool, sizeof(FakeClient))) : nullptr;
    if (!fake) {
        ngx_pool_t* pool = c->pool;
        ngx_close_connection(c);
        if (pool) ngx_destroy_pool(pool);
        return nullptr;
    }
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    fake->log = *ngx_cycle->log;
    fake->log.connection = c->number;
    fake->log.data = &fake->log_context;
    fake->log.handler = describe;
    fake->log.action = const_cast<char*>("asking the homeserver");
    fake->log_context.connection = c;
    c->log = c->read->log = c->write->log = c->pool->log = &fake->log;
    c->log_error = NGX_ERROR_INFO;

    fake->address.sin_family = AF_INET;
    fake->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->type = SOCK_STREAM;
    c->sockaddr = c->local_sockaddr = reinterpret_cast<struct sockaddr*>(&fake->address);
    c->socklen = c->local_socklen = sizeof(fake->address);
    c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;  // else nginx sets options on the descriptor, fails, and gives up
    c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
    c->buffer = &fake->no_input;
    c->recv = receive_nothing;
    c->send = send_nowhere;
    c->send_chain = send_chain_nowhere;
    c->read->handler = c->write->handler = no_event;
    c->read->active = c->write->active = c->write->ready = 1;  // nginx takes it for armed and writable
    c->data = &fake->http;
    return c;
}

}  // namespace

ngx_http_request_t* make_poll_request(const PollLocation& poll, const Call& call, PollEvents& events) {
    FakeClient* fake = nullptr;
    ngx_connection_t* c = fake_connection(fake);
    if (!c) return nullptr;
    fake->http.conf_ctx = poll.server->ctx;
#if (NGX_STAT_STUB)
    (void)ngx_atomic_fetch_add(ngx_stat_active, 1);  // ngx_http_close_connection takes it back
#endif
    ngx_http_request_t* r = ngx_http_create_request(c);
    if (!r) {
        ngx_http_close_connection(c);
        return nullptr;
    }
    c->data = r;
#if (NGX_STAT_STUB)
    (void)ngx_atomic_fetch_add(ngx_stat_reading, -1);
    r->stat_reading = 0;
    (void)ngx_atomic_fetch_add(ngx_stat_writing, 1);
    r->stat_writing = 1;
#endif

    auto* cleanup = ngx_pool_cleanup_add(r->pool, 0);  // the one sure sign that a request is over
    if (!cleanup || !fill(r, call)) {
        r->logged = 1;
        ngx_http_free_request(r, 0);
        ngx_http_close_connection(c);
        return nullptr;
    }
    fake->events = &events;
    cleanup->handler = on_request_gone;
    cleanup->data = fake;
    return r;
}

void start_poll_request(ngx_http_request_t* r, const PollLocation& poll) {
    ngx_connection_t* c = r->connection;
    if (poll.generated) {
        // Straight to proxy_pass: no phase in which the server limits, asks or rewrites its clients.
        r->loc_conf = poll.location->loc_conf;
        ngx_http_update_location_config(r);
        ngx_http_finalize_request(r, r->content_handler(r));
    } else {
        ngx_str_t name = poll.name;
        ngx_http_finalize_request(r, ngx_http_named_location(r, &name));
    }
    ngx_http_run_posted_requests(c);
}

void resume_poll_request(ngx_http_request_t* r) {
    ngx_connection_t* c = r->connection;
    ngx_http_set_log_request(c->log, r);
    r->write_event_handler(r);
    ngx_http_run_posted_requests(c);
}

void abort_poll_request(ngx_http_request_t* r) {
    ngx_connection_t* c = r->connection;
    fake_client(r)->events = nullptr;
    ++r->main->count;  // ngx_http_upstream_cleanup() takes one
    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
    ngx_http_run_posted_requests(c);
}

void add_poll_filters() {
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = filter_header;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = filter_body;
}

}  // namespace matrix_sync
