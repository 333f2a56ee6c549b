// What the configuration says of a location, and how the directives become it.
#pragma once

#include "matrix_sync/service.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

class WorkerProcess;
struct FiguresZone;

/// The named location that polls run in: generated from a URL, or the operator's own. Allocated with the configuration.
struct PollLocation {
    ngx_str_t name;                      ///< with its `@`
    ngx_http_core_srv_conf_t* server;    ///< where it stands
    ngx_http_core_loc_conf_t* location;  ///< found once all are parsed
    bool generated;                      ///< polls go straight to its content handler: what the server says of clients is not for them
    u_char* file;                        ///< of the directive that names it
    ngx_uint_t line;
};

/// What `matrix_sync_status` answers with.
enum class StatusFormat : ngx_uint_t { off, json, prometheus };

/// A connection string. Two that are equal are one database.
struct DatabaseConf {
    ngx_str_t conninfo;
    ngx_str_t label;  ///< what may be shown of it
};

struct LocationConf {
    ngx_flag_t enabled;
    StatusFormat status;
    PollLocation* poll;
    DatabaseConf* database;
    ngx_int_t database_connections;
    ngx_msec_t max_timeout;
    ngx_msec_t first_poll_timeout;
    ngx_msec_t poll_timeout;
    ngx_msec_t poll_idle;
    ngx_msec_t session_expiry;
    ngx_int_t sessions_per_device;
    size_t body_size;
    size_t cache;

    ngx_http_core_loc_conf_t* core;  ///< of the location that says matrix_sync
    off_t client_max_body_size;      ///< of other methods than POST
    Settings* settings;              ///< made of the above
};

struct MainConf {
    ngx_array_t locations;       ///< LocationConf*: all that are enabled
    ngx_array_t poll_locations;  ///< PollLocation*
    ngx_uint_t generated;        ///< poll locations so far
    FiguresZone* figures;        ///< of all workers; null where no location says matrix_sync
    WorkerProcess* worker;       ///< of this process
};

extern ngx_command_t directives[];

void* create_main_conf(ngx_conf_t* cf);
void* create_location_conf(ngx_conf_t* cf);
char* merge_location_conf(ngx_conf_t* cf, void* parent, void* child);

/// Finds every poll location; logs and returns NGX_ERROR for one that is not there.
ngx_int_t find_poll_locations(ngx_conf_t* cf, MainConf& main);

inline LocationConf& location_conf(ngx_http_request_t* r) {
    return *static_cast<LocationConf*>(ngx_http_get_module_loc_conf(r, ngx_http_matrix_sync_module));
}

}  // namespace matrix_sync
