# The module, for the nginx whose headers are installed: Debian's nginx-dev has headers and configure, but neither generated headers nor
# sources. Headers of another build of the same version load, and then misbehave: build against the very nginx that will load it.

set(NGINX_SOURCE /usr/share/nginx/src CACHE PATH "nginx's headers and configure")
set(NGINX_GENERATED ${CMAKE_CURRENT_BINARY_DIR}/nginx)

if(NOT EXISTS ${NGINX_SOURCE}/configure)
  message(FATAL_ERROR "No nginx headers in ${NGINX_SOURCE}: install nginx-dev, or set NGINX_SOURCE.")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${NGINX_SOURCE}/src/core/nginx.h)
if(NOT EXISTS ${NGINX_GENERATED}/ngx_auto_config.h OR ${NGINX_SOURCE}/src/core/nginx.h IS_NEWER_THAN ${NGINX_GENERATED}/ngx_auto_config.h)
  message(STATUS "Configuring nginx's headers")
  execute_process(
    COMMAND bash -c "NGX_CONF_FLAGS=(); [ ! -e conf_flags ] || . ./conf_flags; exec ./configure \"\${NGX_CONF_FLAGS[@]}\" --builddir=\"$0\"" ${NGINX_GENERATED}
    WORKING_DIRECTORY ${NGINX_SOURCE}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "nginx's configure failed:\n${output}")
  endif()
endif()

file(GLOB NGINX_MODULE_SOURCES CONFIGURE_DEPENDS src/nginx/*.cpp)
set(NGINX_MODULE_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/nginx_module.map)
add_library(ngx_http_matrix_sync_module MODULE ${NGINX_MODULE_SOURCES} src/nginx/modules.c)
set_target_properties(ngx_http_matrix_sync_module PROPERTIES PREFIX "" LINK_DEPENDS ${NGINX_MODULE_EXPORTS})
target_include_directories(ngx_http_matrix_sync_module SYSTEM PRIVATE ${NGINX_GENERATED}
  ${NGINX_SOURCE}/src/core ${NGINX_SOURCE}/src/event ${NGINX_SOURCE}/src/event/modules ${NGINX_SOURCE}/src/os/unix
  ${NGINX_SOURCE}/src/http ${NGINX_SOURCE}/src/http/modules ${NGINX_SOURCE}/src/http/v2)
target_link_libraries(ngx_http_matrix_sync_module PRIVATE matrix_sync_storage matrix_sync_core PkgConfig::PQ PkgConfig::YAJL PkgConfig::CRYPTO)
target_link_options(ngx_http_matrix_sync_module PRIVATE
  -Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete -Wl,--version-script=${NGINX_MODULE_EXPORTS})
