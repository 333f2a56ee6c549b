#include "nginx/variables.hpp"

#include <array>

#include "nginx/request_context.hpp"

namespace matrix_sync {

namespace {

const Facts* facts_of(ngx_http_request_t* r) {
    auto* context = request_context(r->main);
    return context && context->client ? &context->facts : nullptr;
}

void set_text(ngx_http_variable_value_t* value, const ngx_str_t& text) {
    value->len = static_cast<unsigned>(text.len) & 0x0fffffff;
    value->data = text.data;
    value->valid = 1;
    value->no_cacheable = 0;
    value->not_found = 0;
}

/// What is empty is not known: `-` in a log.
template <std::string Facts::*member>
ngx_int_t get_text(ngx_http_request_t* r, ngx_http_variable_value_t* value, uintptr_t) {
    const Facts* facts = facts_of(r);
    if (!facts || (facts->*member).empty()) {
        value->not_found = 1;
        return NGX_OK;
    }
    set_text(value, ngx_text(facts->*member));
    return NGX_OK;
}

/// Seconds, as $request_time has them.
ngx_int_t get_wait(ngx_http_request_t* r, ngx_http_variable_value_t* value, uintptr_t) {
    const Facts* facts = facts_of(r);
    if (!facts || !facts->waited) {
        value->not_found = 1;
        return NGX_OK;
    }
    auto* text = static_cast<u_char*>(ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4));
    if (!text) return NGX_ERROR;
    auto ms = static_cast<ngx_msec_int_t>(facts->waited->count());
    u_char* end = ngx_sprintf(text, "%T.%03M", static_cast<time_t>(ms / 1000), static_cast<ngx_msec_t>(ms % 1000));
    set_text(value, {static_cast<std::size_t>(end - text), text});
    return NGX_OK;
}

struct Variable {
    std::string_view name;
    ngx_http_get_variable_pt get;
};
constexpr std::array<Variable, 6> variables{{
    {"matrix_sync_user", get_text<&Facts::user>},
    {"matrix_sync_device", get_text<&Facts::device>},
    {"matrix_sync_session", get_text<&Facts::session>},
    {"matrix_sync_streams", get_text<&Facts::streams>},
    {"matrix_sync_wait", get_wait},
    {"matrix_sync_news", get_text<&Facts::news>},
}};

}  // namespace

ngx_int_t add_variables(ngx_conf_t* cf) {
    for (const Variable& variable : variables) {
        ngx_str_t name = ngx_text(variable.name);
        ngx_http_variable_t* added = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
        if (!added) return NGX_ERROR;
        added->get_handler = variable.get;
    }
    return NGX_OK;
}

}  // namespace matrix_sync
