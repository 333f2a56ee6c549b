// The body is read unbuffered: it never reaches a file, and its limit counts for chunked ones too.
#include "nginx/client_request.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "matrix_sync/task.hpp"
#include "nginx/directives.hpp"
#include "nginx/reply.hpp"
#include "nginx/request_context.hpp"
#include "nginx/worker_process.hpp"

namespace matrix_sync {

/// Lives as long as the request. What it runs ends with the request at the latest.
class ClientRequest final : public OpenRequest {
  public:
    ~ClientRequest() { job_.cancel(); }

    bool attach(ngx_http_request_t* r);
    ngx_int_t read();
    void on_body();
    void turn_away() override;
    void drop() override { job_.cancel(); }

  private:
    void collect();
    bool collect_file(const ngx_buf_t& buffer);
    void run();
    Task<void> serve(WorkerProcess& worker, Request request);
    void wait_for_hang_up();
    void finish(Reply reply);
    void finish_from_loop(Reply reply);

    ngx_http_request_t* r_ = nullptr;
    std::string body_;
    bool was_read_ = false;  ///< by another module, which may still need it
    bool too_large_ = false;
    bool starting_ = false;
    bool finished_ = false;
    Reply reply_;
    Job job_;
};

namespace {

constexpr std::size_t piece = 16 * 1024;

Reply too_large() {
    return error_reply(413, "M_TOO_LARGE", "The request body is larger than this server takes");
}
Reply internal_error() {
    return error_reply(500, "M_UNKNOWN", "Internal server error");
}

void on_body_event(ngx_http_request_t* r) {
    auto* context = request_context(r);
    if (!context || !context->client) return;  // redirected to an error page
    bool failed = guard(r->connection->log, true, [&] {
        context->client->on_body();
        return false;
    });
    if (failed) ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}

std::string header_values(ngx_http_request_t* r, std::string_view lowercase) {
    std::string values;
    for (ngx_list_part_t* part = &r->headers_in.headers.part; part; part = part->next) {
        auto* headers = static_cast<ngx_table_elt_t*>(part->elts);
        for (ngx_uint_t i = 0; i < part->nelts; ++i) {
            std::string_view name(reinterpret_cast<char*>(headers[i].lowcase_key), headers[i].key.len);
            if (name != lowercase) continue;
            if (!values.empty()) values += ", ";
            values += view(headers[i].value);
        }
    }
    return values;
}

std::string host_of(ngx_http_request_t* r) {
    if (r->headers_in.host) return std::string(view(r->headers_in.host->value));
    auto* server = static_cast<ngx_http_core_srv_conf_t*>(ngx_http_get_module_srv_conf(r, ngx_http_core_module));
    return std::string(view(server->server_name));
}

Client client_facts(ngx_http_request_t* r) {
    Client client;
    client.address = header_values(r, "x-forwarded-for");
    if (!client.address.empty()) client.address += ", ";
    client.address += view(r->connection->addr_text);
    client.protocol = "http";
#if (NGX_HTTP_SSL)
    if (r->connection->ssl) client.protocol = "https";
#endif
    client.host = host_of(r);
    if (r->headers_in.user_agent) client.user_agent = view(r->headers_in.user_agent->value);
    return client;
}

}  // namespace

bool ClientRequest::attach(ngx_http_request_t* r) {
    auto* context = make_request_context(r);
    auto* cleanup = ngx_http_cleanup_add(r, 0);
    if (!context || !cleanup) return false;
    context->client = this;
    cleanup->data = this;
    cleanup->handler = [](void* data) {  // the client has hung up, or the request is over
        auto* self = static_cast<ClientRequest*>(data);
        self->finished_ = true;
        self->unlink();
        self->job_.cancel();
    };
    r_ = r;
    return true;
}

ngx_int_t ClientRequest::read() {
    was_read_ = r_->request_body != nullptr;
    r_->request_body_no_buffering = 1;
    ngx_int_t rc = ngx_http_read_client_request_body(r_, on_body_event);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

/// Called for the first time when reading has begun, and then whenever there may be more.
void ClientRequest::on_body() {
    if (finished_) return;
    for (;;) {
        collect();
        if (too_large_) {
            r_->keepalive = 0;  // the rest of the body is still to come
            return finish(too_large());
        }
        if (!r_->reading_body) return run();
        ngx_int_t rc = ngx_http_read_unbuffered_request_body(r_);
        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            r_->read_event_handler = ngx_http_block_reading;
            return ngx_http_finalize_request(r_, rc);
        }
        if (rc == NGX_AGAIN && !r_->request_body->bufs) break;
    }
    r_->read_event_handler = on_body_event;
    r_->write_event_handler = ngx_http_request_empty_handler;
}

void ClientRequest::collect() {
    if (!r_->request_body) return;
    std::size_t limit = location_conf(r_).body_size;
    ngx_chain_t* bufs = r_->request_body->bufs;
    if (!was_read_) r_->request_body->bufs = nullptr;
    for (ngx_chain_t* link = bufs; link; link = link->next) {
        ngx_buf_t& buffer = *link->buf;
        if (static_cast<std::size_t>(ngx_buf_size(&buffer)) > limit - body_.size()) {
            too_large_ = true;
            return;
        }
        if (ngx_buf_in_memory(&buffer)) {
            body_.append(reinterpret_cast<char*>(buffer.pos), static_cast<std::size_t>(buffer.last - buffer.pos));
            if (!was_read_) buffer.pos = buffer.last;
        } else if (buffer.in_file && !collect_file(buffer)) {
            throw std::runtime_error("the request body could not be read from its file");
        }
    }
}

bool ClientRequest::collect_file(const ngx_buf_t& buffer) {
    std::array<u_char, piece> bytes;
    for (off_t at = buffer.file_pos; at < buffer.file_last;) {
        auto size = std::min(bytes.size(), static_cast<std::size_t>(buffer.file_last - at));
        ssize_t n = ngx_read_file(buffer.file, bytes.data(), size, at);
        if (n <= 0) return false;
        body_.append(reinterpret_cast<char*>(bytes.data()), static_cast<std::size_t>(n));
        at += n;
    }
    return true;
}

void ClientRequest::run() {
    auto* worker = WorkerProcess::current();
    if (!worker) return finish(error_reply(503, "M_UNKNOWN", "This server is being restarted", Milliseconds{1000}));
    Request request;
    if (r_->headers_in.authorization) request.authorization = view(r_->headers_in.authorization->value);
    request.query = view(r_->args);
    request.body = std::move(body_);
    request.client = client_facts(r_);
    request.may_wait = worker->has_room_to_wait();
    request.facts = &request_context(r_)->facts;

    worker->add(*this);
    wait_for_hang_up();
    starting_ = true;
    job_.start(serve(*worker, std::move(request)), [this](std::exception_ptr error) {
        if (error) reply_ = internal_error();
        if (!starting_) finish_from_loop(std::move(reply_));
    });
    starting_ = false;
    if (!job_.running()) finish(std::move(reply_));
}

Task<void> ClientRequest::serve(WorkerProcess& worker, Request request) {
    Task<Reply> answer = worker.serve(location_conf(r_), std::move(request));
    reply_ = co_await answer;
}

void ClientRequest::wait_for_hang_up() {
    ngx_event_t* event = r_->connection->read;
    r_->read_event_handler = ngx_http_test_reading;
    r_->write_event_handler = ngx_http_request_empty_handler;
    if (r_->stream == nullptr && ngx_handle_read_event(event, 0) != NGX_OK) throw std::runtime_error("the connection cannot be watched");
    if (event->ready) {  // it may have hung up already: no new edge would tell
        ngx_post_event(event, &ngx_posted_events);
    }
}

void ClientRequest::turn_away() {
    job_.cancel();
    finish_from_loop(error_reply(503, "M_UNKNOWN", "This server is being restarted", Milliseconds{1000}));
}

/// The request, and this with it, may be gone when this returns.
void ClientRequest::finish(Reply reply) {
    if (std::exchange(finished_, true)) return;
    unlink();
    ngx_http_finalize_request(r_, send_reply(r_, std::move(reply)));
}

void ClientRequest::finish_from_loop(Reply reply) {
    ngx_connection_t* c = r_->connection;
    ngx_http_set_log_request(c->log, r_);
    finish(std::move(reply));
    ngx_http_run_posted_requests(c);
}

namespace {

ngx_int_t serve_post(ngx_http_request_t* r) {
    auto limit = static_cast<off_t>(location_conf(r).body_size);
    if (r->headers_in.content_length_n > limit) {
        r->expect_tested = 1;  // nobody shall be told to go on
        ngx_int_t rc = ngx_http_discard_request_body(r);
        r->keepalive = 0;  // a client that waits for 100 may send the body or not
        return rc == NGX_OK ? send_reply(r, too_large()) : rc;
    }
    auto* client = make_in_request<ClientRequest>(r);
    if (!client || !client->attach(r)) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return client->read();
}

ngx_int_t refuse_method(ngx_http_request_t* r) {
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) return rc;
    if (!add_response_header(r, "Allow", "GET, HEAD, OPTIONS, POST")) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return send_reply(r, error_reply(405, "M_UNRECOGNIZED", "This method is not known here"));
}

/// An exception in here is answered too.
template <ngx_int_t (*handler)(ngx_http_request_t*)>
ngx_int_t guarded(ngx_http_request_t* r) {
    return guard(r->connection->log, ngx_int_t{NGX_HTTP_INTERNAL_SERVER_ERROR}, [&] { return handler(r); });
}

}  // namespace

ngx_int_t take_method(ngx_http_request_t* r) {
    const LocationConf& conf = location_conf(r);
    if (!conf.enabled || r != r->main) return NGX_DECLINED;
    switch (r->method) {
        case NGX_HTTP_POST:
            r->content_handler = guarded<serve_post>;
            return NGX_DECLINED;
        case NGX_HTTP_GET:
        case NGX_HTTP_HEAD:
        case NGX_HTTP_OPTIONS:
            if (conf.client_max_body_size && (r->headers_in.chunked || r->headers_in.content_length_n > conf.client_max_body_size)) {
                return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
            }
            return NGX_DECLINED;
        default:
            r->content_handler = guarded<refuse_method>;
            return NGX_DECLINED;
    }
}

}  // namespace matrix_sync
