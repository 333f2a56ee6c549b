// nginx's own headers, and what every function that nginx calls has to go through.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

extern "C" {
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

extern ngx_module_t ngx_http_matrix_sync_module;
}

namespace matrix_sync {

inline std::string_view view(const ngx_str_t& text) {
    return {reinterpret_cast<const char*>(text.data), text.len};
}

/// Of a literal, or of text that lives as long as whoever keeps the result.
inline ngx_str_t ngx_text(std::string_view text) {
    return {text.size(), reinterpret_cast<u_char*>(const_cast<char*>(text.data()))};
}

/// One line, whatever the text holds: what clients and homeservers call things begins none of its own.
inline void log_line(ngx_uint_t level, ngx_log_t* log, std::string_view text) {
    std::string line(text);
    std::ranges::replace_if(
        line, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    ngx_log_error(level, log, 0, "matrix_sync: %*s", line.size(), line.data());
}

/// Runs what nginx called: no exception may cross a frame of C. `failed` is the result when there was one.
template <class Result, class Body>
Result guard(ngx_log_t* log, Result failed, Body&& body) noexcept {
    try {
        return body();
    } catch (const std::exception& error) {
        log_line(NGX_LOG_ERR, log, error.what());
    } catch (...) {
        log_line(NGX_LOG_ERR, log, "unknown exception");
    }
    return failed;
}

template <class Body>
void guard(ngx_log_t* log, Body&& body) noexcept {
    guard(log, 0, [&] {
        body();
        return 0;
    });
}

}  // namespace matrix_sync
