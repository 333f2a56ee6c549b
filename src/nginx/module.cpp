// The module as nginx sees it.
#include "nginx/client_request.hpp"
#include "nginx/directives.hpp"
#include "nginx/error_page.hpp"
#include "nginx/figures.hpp"
#include "nginx/ngx.hpp"
#include "nginx/poll_request.hpp"
#include "nginx/variables.hpp"
#include "nginx/worker_process.hpp"

namespace matrix_sync {

namespace {

ngx_int_t after_configuration(ngx_conf_t* cf) {
    auto& main = *static_cast<MainConf*>(ngx_http_conf_get_module_main_conf(cf, ngx_http_matrix_sync_module));
    if (main.poll_locations.nelts == 0) return NGX_OK;
    auto& core = *static_cast<ngx_http_core_main_conf_t*>(ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module));
    auto* handler = static_cast<ngx_http_handler_pt*>(ngx_array_push(&core.phases[NGX_HTTP_PRECONTENT_PHASE].handlers));
    if (!handler) return NGX_ERROR;
    *handler = take_method;
    add_error_page_filters();
    add_poll_filters();
    if (main.locations.nelts > 0) {
        ngx_int_t rc = guard(cf->log, ngx_int_t{NGX_ERROR}, [&] { return add_figures_zone(cf, main); });
        if (rc != NGX_OK) return rc;
    }
    return find_poll_locations(cf, main);
}

ngx_int_t start_process(ngx_cycle_t* cycle) {
    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE) return NGX_OK;
    auto* main = static_cast<MainConf*>(ngx_http_cycle_get_module_main_conf(cycle, ngx_http_matrix_sync_module));
    if (!main || main->locations.nelts == 0) return NGX_OK;
    return guard(cycle->log, ngx_int_t{NGX_ERROR}, [&] {
        main->worker = new WorkerProcess(*main, *cycle);
        return ngx_int_t{NGX_OK};
    });
}

void end_process(ngx_cycle_t* cycle) {
    auto* main = static_cast<MainConf*>(ngx_http_cycle_get_module_main_conf(cycle, ngx_http_matrix_sync_module));
    if (!main) return;
    guard(cycle->log, [&] { delete std::exchange(main->worker, nullptr); });
}

ngx_http_module_t context{
    add_variables,         // preconfiguration
    after_configuration,   // postconfiguration
    create_main_conf,      // create main configuration
    nullptr,               // init main configuration
    nullptr,               // create server configuration
    nullptr,               // merge server configuration
    create_location_conf,  // create location configuration
    merge_location_conf,   // merge location configuration
};

}  // namespace

}  // namespace matrix_sync

extern "C" {
ngx_module_t ngx_http_matrix_sync_module = {
    NGX_MODULE_V1,
    &matrix_sync::context,
    matrix_sync::directives,
    NGX_HTTP_MODULE,
    nullptr,                     // init master
    nullptr,                     // init module
    matrix_sync::start_process,  // init process
    nullptr,                     // init thread
    nullptr,                     // exit thread
    matrix_sync::end_process,    // exit process
    nullptr,                     // exit master
    NGX_MODULE_V1_PADDING,
};
}
