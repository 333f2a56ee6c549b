/* What nginx's own addon build generates: the three arrays that it looks up in a dynamic module. */
#include <ngx_config.h>
#include <ngx_core.h>

extern ngx_module_t ngx_http_matrix_sync_module;

ngx_module_t* ngx_modules[] = {&ngx_http_matrix_sync_module, NULL};
char* ngx_module_names[] = {"ngx_http_matrix_sync_module", NULL};
char* ngx_module_order[] = {"ngx_http_matrix_sync_module", "ngx_http_copy_filter_module", NULL};
