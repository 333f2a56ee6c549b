#include "nginx/status.hpp"

#include "core/json/writer.hpp"
#include "nginx/reply.hpp"
#include "nginx/version.hpp"
#include "nginx/worker_process.hpp"

namespace matrix_sync {

namespace {

std::int64_t number(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

void write_service(JsonWriter& json, const Status& status) {
    json.key("requests").number(number(status.requests)).key("waiting").number(number(status.waiting));
    json.key("sessions").number(number(status.sessions));
    json.key("devices").number(number(status.devices)).key("owned").number(number(status.owned));
    json.key("polls").number(number(status.polls)).key("polls_in_flight").number(number(status.polls_in_flight));
    json.key("polls_failed").number(number(status.polls_failed)).key("polls_failing").number(number(status.polls_failing));
    json.key("stalest_ms").number(status.stalest.count());
    json.key("ingests").number(number(status.ingests));
}

void write_database(JsonWriter& json, const DatabaseStatus& status) {
    json.key("connected").boolean(status.connected).key("connections").number(status.connections).key("queued").number(status.waiting);
    json.key("queries").number(number(status.queries)).key("transactions").number(number(status.transactions));
    json.key("errors").number(number(status.errors)).key("lost").number(number(status.lost));
    json.key("statements").object();
    for (const auto& [name, count] : status.statements) json.key(name).number(number(count));
    json.end_object();
}

std::string status_json(const WorkerProcess& worker) {
    JsonWriter json;
    json.object().key("version").string(module_version);
    json.key("worker").number(number(ngx_worker)).key("pid").number(ngx_pid);
    json.key("connections").object();
    json.key("total").number(number(worker.budget().total)).key("used").number(number(worker.budget().in_use()));
    json.key("free").number(number(ngx_cycle->free_connection_n)).end_object();
    json.key("databases").array();
    for (const auto& site : worker.sites()) {
        json.object().key("database").string(site->label());
        write_service(json, site->service().status());
        json.key("postgresql").object();
        write_database(json, site->database().status());
        json.end_object().end_object();
    }
    return json.end_array().end_object().take();
}

}  // namespace

ngx_int_t serve_status(ngx_http_request_t* r) {
    return guard(r->connection->log, ngx_int_t{NGX_HTTP_INTERNAL_SERVER_ERROR}, [&] {
        if (ngx_int_t rc = ngx_http_discard_request_body(r); rc != NGX_OK) return rc;
        if (r->method != NGX_HTTP_GET && r->method != NGX_HTTP_HEAD) {
            if (!add_response_header(r, "Allow", "GET, HEAD")) return ngx_int_t{NGX_HTTP_INTERNAL_SERVER_ERROR};
            return send_reply(r, error_reply(405, "M_UNRECOGNIZED", "The status page can only be read"));
        }
        auto* worker = WorkerProcess::current();
        if (!worker) return send_reply(r, error_reply(503, "M_UNKNOWN", "No location here says matrix_sync"));
        return send_reply(r, Reply{.status = 200, .body = status_json(*worker) + "\n", .retry_after_s = {}});
    });
}

}  // namespace matrix_sync
