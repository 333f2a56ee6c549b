#include "nginx/poll_location.hpp"

#include <array>

namespace matrix_sync {

namespace {

constexpr std::string_view unix_prefix = "unix:";

bool module_built(ngx_conf_t* cf, std::string_view name) {
    for (ngx_uint_t i = 0; cf->cycle->modules[i]; ++i) {
        if (name == cf->cycle->modules[i]->name) return true;
    }
    return false;
}

std::string location_text(ngx_conf_t* cf, std::string_view name, std::string_view url) {
    std::string text = "location ";
    text += name;
    text += " { proxy_pass ";
    text += url;
    text +=
        ";"
        // A long poll is silent for as long as nothing happens, and a first one while the homeserver gathers everything.
        " proxy_connect_timeout 10s; proxy_send_timeout 60s; proxy_read_timeout 15m; proxy_socket_keepalive on;"
        // A connection that was kept alive may turn out to be closed; what was not answered at all is asked again.
        " proxy_next_upstream error; proxy_next_upstream_tries 3; proxy_next_upstream_timeout 0;"
        // What nobody has read yet stays in one buffer: reading pauses while PostgreSQL is behind.
        " proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 4 64k; proxy_busy_buffers_size 128k;"
        " proxy_temp_file_write_size 128k; proxy_max_temp_file_size 0;"
        " proxy_http_version 1.1; proxy_method GET; proxy_pass_request_headers on; proxy_pass_request_body off;"
        " proxy_set_header Host $http_host; proxy_set_header Connection '';"
        " proxy_ignore_headers X-Accel-Redirect X-Accel-Buffering X-Accel-Limit-Rate X-Accel-Charset;"
        " proxy_ignore_client_abort off; proxy_intercept_errors off; proxy_redirect off; proxy_store off; proxy_limit_rate 0;"
        " access_log off; lingering_close off;";
#if (NGX_HTTP_CACHE)
    text += " proxy_cache off;";
#endif
#if (NGX_HTTP_SSL)
    if (url.starts_with("https:")) text += " proxy_ssl_server_name on;";
#endif
    // Polls skip these phases; this is for whoever looks for them.
    constexpr std::array<std::array<std::string_view, 2>, 3> access{{
        {"ngx_http_access_module", " allow all;"},
        {"ngx_http_auth_basic_module", " auth_basic off;"},
        {"ngx_http_auth_request_module", " auth_request off;"},
    }};
    for (const auto& [module, directive] : access) {
        if (module_built(cf, module)) text += directive;
    }
    return text + " } }";  // the second brace ends "the server"
}

/// Parses text in the context of the server around the directive that is being parsed: a named location may stand nowhere else. Errors
/// show the operator's own file and line.
char* parse_in_server(ngx_conf_t* cf, ngx_http_core_srv_conf_t* server, std::string& text) {
    ngx_buf_t buffer{};
    buffer.start = buffer.pos = reinterpret_cast<u_char*>(text.data());
    buffer.end = buffer.last = buffer.start + text.size();
    buffer.temporary = 1;
    ngx_conf_file_t file = *cf->conf_file;  // its descriptor stays: without one, blocks are not allowed
    file.buffer = &buffer;
    file.dump = nullptr;
    file.file.info = {};  // no bytes to read behind the buffer
    file.file.offset = 0;

    ngx_conf_t saved = *cf;
    cf->args = ngx_array_create(cf->pool, 10, sizeof(ngx_str_t));
    if (!cf->args) return static_cast<char*>(NGX_CONF_ERROR);
    cf->conf_file = &file;
    cf->ctx = server->ctx;
    cf->cmd_type = NGX_HTTP_SRV_CONF;
    char* result = ngx_conf_parse(cf, nullptr);
    *cf = saved;
    return result;
}

PollLocation* add_poll_location(ngx_conf_t* cf, ngx_str_t name, bool generated) {
    auto& main = *static_cast<MainConf*>(ngx_http_conf_get_module_main_conf(cf, ngx_http_matrix_sync_module));
    auto* poll = static_cast<PollLocation*>(ngx_pcalloc(cf->pool, sizeof(PollLocation)));
    auto** slot = static_cast<PollLocation**>(ngx_array_push(&main.poll_locations));
    if (!poll || !slot) return nullptr;
    *slot = poll;
    poll->name = name;
    poll->generated = generated;
    poll->server = static_cast<ngx_http_core_srv_conf_t*>(ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module));
    poll->file = cf->conf_file->file.name.data;
    poll->line = cf->conf_file->line;
    return poll;
}

}  // namespace

const char* refuse_url(std::string_view url) {
    if (url.find('$') != std::string_view::npos) {
        return "takes no variables in its URL; for a location with variables use \"matrix_sync_poll_location\"";
    }
    if (url.starts_with("http://")) {
        url.remove_prefix(7);
    } else if (url.starts_with("https://")) {
        url.remove_prefix(8);
#if !(NGX_HTTP_SSL)
        return "cannot reach an https:// homeserver: this nginx is built without SSL";
#endif
    } else {
        return "needs a URL such as http://127.0.0.1:8008, https://matrix.example.org or http://unix:/run/homeserver.sock, or \"off\"";
    }
    if (url.find_first_of(" \t\r\n;{}'\"\\#") != std::string_view::npos) {
        return "has a URL with a character that no host name, address or socket path should have";
    }
    bool has_uri = url.starts_with(unix_prefix) ? url.find(':', unix_prefix.size()) != std::string_view::npos
                                                : url.find_first_of("/?") != std::string_view::npos;
    if (has_uri) {
        return "takes a URL without a path, not even a closing \"/\", such as http://127.0.0.1:8008; for a homeserver below a path use "
               "\"matrix_sync_poll_location\"";
    }
    if (url.empty() || url == unix_prefix) return "has a URL without a host";
    return nullptr;
}

PollLocation* generate_poll_location(ngx_conf_t* cf, std::string_view url) {
    auto& main = *static_cast<MainConf*>(ngx_http_conf_get_module_main_conf(cf, ngx_http_matrix_sync_module));
    constexpr std::string_view pattern = "@matrix_sync_poll_";
    auto* data = static_cast<u_char*>(ngx_pnalloc(cf->pool, pattern.size() + NGX_INT_T_LEN));
    if (!data) return nullptr;
    ngx_str_t name{0, data};
    name.len = static_cast<size_t>(ngx_sprintf(data, "%*s%ui", pattern.size(), pattern.data(), ++main.generated) - data);

    PollLocation* poll = add_poll_location(cf, name, true);
    if (!poll) return nullptr;
    // nginx keeps pointers into what it parsed, for as long as the configuration.
    std::string text = location_text(cf, view(name), url);
    return parse_in_server(cf, poll->server, text) == NGX_CONF_OK ? poll : nullptr;
}

PollLocation* own_poll_location(ngx_conf_t* cf, ngx_str_t name) {
    return add_poll_location(cf, name, false);
}

}  // namespace matrix_sync
