#include "nginx/directives.hpp"

#include <cstring>

#include "nginx/conninfo.hpp"
#include "nginx/poll_location.hpp"
#include "nginx/status.hpp"

namespace matrix_sync {

namespace {

constexpr ngx_uint_t anywhere = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

char* is_duplicate() {
    return const_cast<char*>("is duplicate");
}
char* failed() {
    return static_cast<char*>(NGX_CONF_ERROR);
}
char* refuse(ngx_conf_t* cf, std::string_view text) {
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%*s", text.size(), text.data());
    return failed();
}

ngx_str_t argument(ngx_conf_t* cf) {
    return static_cast<ngx_str_t*>(cf->args->elts)[1];
}

/// matrix_sync and matrix_sync_poll_location: either switches it on.
char* enable(ngx_conf_t* cf, LocationConf& conf, PollLocation* poll) {
    if (!poll) return failed();
    conf.enabled = 1;
    conf.poll = poll;
    conf.core = static_cast<ngx_http_core_loc_conf_t*>(ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module));
    return NGX_CONF_OK;
}

char* set_matrix_sync(ngx_conf_t* cf, ngx_command_t*, void* data) {
    auto& conf = *static_cast<LocationConf*>(data);
    if (conf.poll && !conf.poll->generated)
        return const_cast<char*>("stands beside \"matrix_sync_poll_location\", which says where to poll: remove one of them");
    if (conf.enabled != NGX_CONF_UNSET) return is_duplicate();
    ngx_str_t url = argument(cf);
    if (view(url) == "off") {
        conf.enabled = 0;
        return NGX_CONF_OK;
    }
    if (const char* wrong = refuse_url(view(url))) return const_cast<char*>(wrong);
    return guard(cf->log, failed(), [&] { return enable(cf, conf, generate_poll_location(cf, view(url))); });
}

char* set_poll_location(ngx_conf_t* cf, ngx_command_t*, void* data) {
    auto& conf = *static_cast<LocationConf*>(data);
    if (conf.poll && !conf.poll->generated) return is_duplicate();
    if (conf.enabled != NGX_CONF_UNSET) {
        return const_cast<char*>("stands beside \"matrix_sync\", which says where to poll: remove one of them");
    }
    ngx_str_t name = argument(cf);
    if (name.len < 2 || name.data[0] != '@') {
        return const_cast<char*>("needs the name of a named location of this server, such as @matrix_sync_poll");
    }
    return enable(cf, conf, own_poll_location(cf, name));
}

char* set_database(ngx_conf_t* cf, ngx_command_t*, void* data) {
    auto& conf = *static_cast<LocationConf*>(data);
    if (conf.database) return is_duplicate();
    ngx_str_t text = argument(cf);
    return guard(cf->log, failed(), [&]() -> char* {
        auto checked = check_conninfo(std::string(view(text)));
        if (!checked.wrong.empty()) {
            return refuse(cf, "\"matrix_sync_database\" " + checked.wrong);
        }
        conf.database = static_cast<DatabaseConf*>(ngx_pcalloc(cf->pool, sizeof(DatabaseConf)));
        if (!conf.database) return failed();
        conf.database->conninfo = text;
        ngx_str_t label = ngx_text(checked.label);
        conf.database->label = {label.len, ngx_pstrdup(cf->pool, &label)};
        return conf.database->label.data ? NGX_CONF_OK : failed();
    });
}

char* set_status(ngx_conf_t* cf, ngx_command_t*, void* data) {
    auto& conf = *static_cast<LocationConf*>(data);
    if (conf.status != StatusFormat::off) return is_duplicate();
    conf.status = StatusFormat::json;
    if (cf->args->nelts > 1) {
        ngx_str_t format = argument(cf);
        if (view(format) == "prometheus") {
            conf.status = StatusFormat::prometheus;
        } else if (view(format) != "json") {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"matrix_sync_status\" has \"json\" and \"prometheus\", not \"%V\"", &format);
            return failed();
        }
    }
    auto* core = static_cast<ngx_http_core_loc_conf_t*>(ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module));
    core->handler = serve_status;
    return NGX_CONF_OK;
}

char* refuse_zero(ngx_conf_t*, void*, void* data) {
    return *static_cast<size_t*>(data) == 0 ? const_cast<char*>("needs a value above zero") : NGX_CONF_OK;
}
static_assert(sizeof(ngx_msec_t) == sizeof(size_t));

char* refuse_connections(ngx_conf_t*, void*, void* data) {
    auto value = *static_cast<ngx_int_t*>(data);
    return value < 2 || value > 64 ? const_cast<char*>("needs a number from 2 to 64: one connection listens, the others write")
                                   : NGX_CONF_OK;
}

char* refuse_sessions(ngx_conf_t*, void*, void* data) {
    auto value = *static_cast<ngx_int_t*>(data);
    return value < 1 || value > 1000 ? const_cast<char*>("needs a number from 1 to 1000") : NGX_CONF_OK;
}

ngx_conf_post_t not_zero{refuse_zero};
ngx_conf_post_t connections_bounds{refuse_connections};
ngx_conf_post_t sessions_bounds{refuse_sessions};

ngx_command_t time_directive(const char* name, ngx_uint_t offset, void* post = &not_zero) {
    return {ngx_text(name), anywhere | NGX_CONF_TAKE1, ngx_conf_set_msec_slot, NGX_HTTP_LOC_CONF_OFFSET, offset, post};
}

/// Merging happens at the end of the http block: the operator has to be told where the directive stands.
std::string where(const PollLocation& poll) {
    return "\"matrix_sync\" in " + std::string(reinterpret_cast<const char*>(poll.file)) + ":" + std::to_string(poll.line);
}

Milliseconds milliseconds(ngx_msec_t value) {
    return Milliseconds{static_cast<std::int64_t>(value)};
}

char* complete(ngx_conf_t* cf, LocationConf& conf) {
    if (!conf.database) {
        return refuse(cf, where(*conf.poll) +
                              " needs a \"matrix_sync_database\" in the same block or around it, such as matrix_sync_database "
                              "\"host=/run/postgresql dbname=syncv3\";");
    }
    auto& main = *static_cast<MainConf*>(ngx_http_conf_get_module_main_conf(cf, ngx_http_matrix_sync_module));
    auto** slot = static_cast<LocationConf**>(ngx_array_push(&main.locations));
    conf.settings = static_cast<Settings*>(ngx_pcalloc(cf->pool, sizeof(Settings)));
    if (!slot || !conf.settings) return failed();
    *slot = &conf;
    *conf.settings = Settings{
        .max_timeout = milliseconds(conf.max_timeout),
        .first_poll_timeout = milliseconds(conf.first_poll_timeout),
        .poll_timeout = milliseconds(conf.poll_timeout),
        .poll_idle = milliseconds(conf.poll_idle),
        .session_expiry = milliseconds(conf.session_expiry),
        .sessions_per_device = static_cast<int>(conf.sessions_per_device),
    };
    if (!conf.core) return NGX_CONF_OK;
    // nginx would refuse a large body with a page of HTML before we see it; the limit of ours is kept where the body is read.
    conf.client_max_body_size = conf.core->client_max_body_size;
    conf.core->client_max_body_size = 0;
    return NGX_CONF_OK;
}

}  // namespace

ngx_command_t directives[] = {
    {ngx_string("matrix_sync"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_matrix_sync, NGX_HTTP_LOC_CONF_OFFSET, 0, nullptr},
    {ngx_string("matrix_sync_poll_location"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_poll_location, NGX_HTTP_LOC_CONF_OFFSET, 0, nullptr},
    {ngx_string("matrix_sync_database"), anywhere | NGX_CONF_TAKE1, set_database, NGX_HTTP_LOC_CONF_OFFSET, 0, nullptr},
    {ngx_string("matrix_sync_database_connections"), anywhere | NGX_CONF_TAKE1, ngx_conf_set_num_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(LocationConf, database_connections), &connections_bounds},
    time_directive("matrix_sync_max_timeout", offsetof(LocationConf, max_timeout)),
    time_directive("matrix_sync_first_poll_timeout", offsetof(LocationConf, first_poll_timeout), nullptr),
    time_directive("matrix_sync_poll_timeout", offsetof(LocationConf, poll_timeout)),
    time_directive("matrix_sync_poll_idle", offsetof(LocationConf, poll_idle)),
    time_directive("matrix_sync_session_expiry", offsetof(LocationConf, session_expiry)),
    {ngx_string("matrix_sync_sessions_per_device"), anywhere | NGX_CONF_TAKE1, ngx_conf_set_num_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(LocationConf, sessions_per_device), &sessions_bounds},
    {ngx_string("matrix_sync_body_size"), anywhere | NGX_CONF_TAKE1, ngx_conf_set_size_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(LocationConf, body_size), &not_zero},
    {ngx_string("matrix_sync_cache"), anywhere | NGX_CONF_TAKE1, ngx_conf_set_size_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(LocationConf, cache), &not_zero},
    {ngx_string("matrix_sync_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1, set_status, NGX_HTTP_LOC_CONF_OFFSET, 0,
     nullptr},
    ngx_null_command,
};

void* create_main_conf(ngx_conf_t* cf) {
    auto* conf = static_cast<MainConf*>(ngx_pcalloc(cf->pool, sizeof(MainConf)));
    if (!conf || ngx_array_init(&conf->locations, cf->pool, 4, sizeof(LocationConf*)) != NGX_OK ||
        ngx_array_init(&conf->poll_locations, cf->pool, 4, sizeof(PollLocation*)) != NGX_OK) {
        return nullptr;
    }
    return conf;
}

void* create_location_conf(ngx_conf_t* cf) {
    auto* conf = static_cast<LocationConf*>(ngx_pcalloc(cf->pool, sizeof(LocationConf)));
    if (!conf) return nullptr;
    conf->enabled = NGX_CONF_UNSET;
    conf->database_connections = NGX_CONF_UNSET;
    conf->sessions_per_device = NGX_CONF_UNSET;
    conf->max_timeout = conf->first_poll_timeout = conf->poll_timeout = conf->poll_idle = conf->session_expiry = NGX_CONF_UNSET_MSEC;
    conf->body_size = conf->cache = NGX_CONF_UNSET_SIZE;
    return conf;
}

char* merge_location_conf(ngx_conf_t* cf, void* parent, void* child) {
    constexpr ngx_msec_t second = 1000;
    constexpr ngx_msec_t minute = 60 * second;
    constexpr ngx_msec_t day = 24 * 60 * minute;
    auto& outer = *static_cast<LocationConf*>(parent);
    auto& conf = *static_cast<LocationConf*>(child);
    if (conf.enabled == NGX_CONF_UNSET) {
        conf.enabled = outer.enabled == NGX_CONF_UNSET ? 0 : outer.enabled;
        conf.poll = outer.poll;
    }
    if (!conf.database) conf.database = outer.database;
    ngx_conf_merge_value(conf.database_connections, outer.database_connections, 3);
    ngx_conf_merge_msec_value(conf.max_timeout, outer.max_timeout, minute);
    ngx_conf_merge_msec_value(conf.first_poll_timeout, outer.first_poll_timeout, 30 * second);
    ngx_conf_merge_msec_value(conf.poll_timeout, outer.poll_timeout, 30 * second);
    ngx_conf_merge_msec_value(conf.poll_idle, outer.poll_idle, 5 * minute);
    ngx_conf_merge_msec_value(conf.session_expiry, outer.session_expiry, 7 * day);
    ngx_conf_merge_value(conf.sessions_per_device, outer.sessions_per_device, 16);
    ngx_conf_merge_size_value(conf.body_size, outer.body_size, 64 * 1024);
    ngx_conf_merge_size_value(conf.cache, outer.cache, 64 * 1024 * 1024);
    if (!conf.enabled) return NGX_CONF_OK;
    return guard(cf->log, failed(), [&] { return complete(cf, conf); });
}

ngx_int_t find_poll_locations(ngx_conf_t* cf, MainConf& main) {
    auto** polls = static_cast<PollLocation**>(main.poll_locations.elts);
    for (ngx_uint_t i = 0; i < main.poll_locations.nelts; ++i) {
        PollLocation& poll = *polls[i];
        for (auto** location = poll.server->named_locations; location && *location; ++location) {
            if (view((*location)->name) == view(poll.name)) poll.location = *location;
        }
        if (!poll.location) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"matrix_sync_poll_location\" names \"%V\", but the server around it has no such location, in %s:%ui",
                          &poll.name, poll.file, poll.line);
            return NGX_ERROR;
        }
        if (!poll.location->handler) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"matrix_sync_poll_location\" names \"%V\", which has no \"proxy_pass\" to a homeserver, in %s:%ui", &poll.name,
                          poll.file, poll.line);
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}

}  // namespace matrix_sync
