#include "core/json/reader.hpp"

#include <yajl/yajl_parse.h>

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace matrix_sync {

struct JsonReader::Impl {
    Impl(Handler& whose, std::size_t limit);

    void run(yajl_status (*step)(yajl_handle, std::string_view), std::string_view bytes);

    // What yajl tells, one each.
    void name(std::string_view text);
    void begin(JsonKind kind);
    void end();
    void scalar(JsonKind kind);

    Want next_want();
    void start_slice(std::size_t from);
    void finish_slice();

    Handler& handler;
    std::size_t max_depth;
    struct Free {
        void operator()(yajl_handle_t* handle) const { yajl_free(handle); }
    };
    std::unique_ptr<yajl_handle_t, Free> yajl;
    std::exception_ptr error;

    std::vector<JsonKind> entered;
    Want member_want = Want::skip;
    std::size_t nested = 0;   // objects and arrays open in the value that is being skipped or sliced
    std::size_t deepest = 0;  // the most of them since it began

    bool slicing = false;
    std::string_view chunk;
    std::size_t slice_begin = 0;  // in the chunk
    std::string before;           // of the slice, from the chunks before
};

namespace {

// No exception may cross yajl's frames.
template <class Call>
int guarded(void* context, Call call) {
    auto& reader = *static_cast<JsonReader::Impl*>(context);
    try {
        call(reader);
        return 1;
    } catch (...) {
        reader.error = std::current_exception();
        return 0;
    }
}

using Reader = JsonReader::Impl;

template <JsonKind kind>
int on_scalar(void* context) {
    return guarded(context, [](Reader& reader) { reader.scalar(kind); });
}

template <JsonKind kind>
int on_begin(void* context) {
    return guarded(context, [](Reader& reader) { reader.begin(kind); });
}

int on_end(void* context) {
    return guarded(context, [](Reader& reader) { reader.end(); });
}

int on_name(void* context, const unsigned char* text, std::size_t length) {
    return guarded(context, [&](Reader& reader) { reader.name({reinterpret_cast<const char*>(text), length}); });
}

constexpr yajl_callbacks callbacks = {
    .yajl_null = on_scalar<JsonKind::null>,
    .yajl_boolean = [](void* context, int) { return on_scalar<JsonKind::boolean>(context); },
    .yajl_integer = nullptr,
    .yajl_double = nullptr,
    .yajl_number = [](void* context, const char*, std::size_t) { return on_scalar<JsonKind::number>(context); },
    .yajl_string = [](void* context, const unsigned char*, std::size_t) { return on_scalar<JsonKind::string>(context); },
    .yajl_start_map = on_begin<JsonKind::object>,
    .yajl_map_key = on_name,
    .yajl_end_map = on_end,
    .yajl_start_array = on_begin<JsonKind::array>,
    .yajl_end_array = on_end,
};

yajl_status parse(yajl_handle handle, std::string_view bytes) {
    return yajl_parse(handle, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

yajl_status complete(yajl_handle handle, std::string_view) {
    return yajl_complete_parse(handle);
}

}  // namespace

JsonReader::Impl::Impl(Handler& whose, std::size_t limit) : handler(whose), max_depth(limit), yajl(yajl_alloc(&callbacks, nullptr, this)) {
    if (!yajl) throw std::bad_alloc();
    // UTF-8 is for whoever uses a slice to check: yajl lets surrogates and overlong forms through.
    yajl_config(yajl.get(), yajl_dont_validate_strings, 1);
}

void JsonReader::Impl::run(yajl_status (*step)(yajl_handle, std::string_view), std::string_view bytes) {
    if (error) std::rethrow_exception(error);
    chunk = bytes;
    slice_begin = 0;
    if (step(yajl.get(), bytes) != yajl_status_ok && !error) error = std::make_exception_ptr(JsonError("not JSON"));
    if (error) std::rethrow_exception(error);
    if (slicing) before += chunk.substr(slice_begin);
}

void JsonReader::Impl::name(std::string_view text) {
    if (nested) return;
    member_want = handler.member(text);
    if (member_want == Want::slice) start_slice(yajl_get_bytes_consumed(yajl.get()));
}

JsonReader::Want JsonReader::Impl::next_want() {
    return !entered.empty() && entered.back() == JsonKind::object ? member_want : handler.element();
}

void JsonReader::Impl::begin(JsonKind kind) {
    if (nested) {
        deepest = std::max(deepest, ++nested);
    } else {
        Want want = next_want();
        if (want == Want::enter) {
            entered.push_back(kind);
            handler.entered(kind);
        } else {
            nested = deepest = 1;
            if (want == Want::slice && !slicing) start_slice(yajl_get_bytes_consumed(yajl.get()) - 1);
        }
    }
    if (!slicing && entered.size() + nested > max_depth) throw JsonError("too deep");
}

void JsonReader::Impl::end() {
    if (nested) {
        if (--nested == 0 && slicing) finish_slice();
        return;
    }
    entered.pop_back();
    handler.left();
}

void JsonReader::Impl::scalar(JsonKind kind) {
    if (nested) return;
    if (Want want = next_want(); want == Want::skip) return;
    deepest = 0;
    slicing ? finish_slice() : handler.scalar(kind);
}

void JsonReader::Impl::start_slice(std::size_t from) {
    slicing = true;
    slice_begin = from;
    before.clear();
}

void JsonReader::Impl::finish_slice() {
    slicing = false;
    std::string_view json = chunk.substr(slice_begin, yajl_get_bytes_consumed(yajl.get()) - slice_begin);
    std::string joined = std::exchange(before, {});
    if (!joined.empty()) json = joined += json;
    // A member's slice began right behind its name.
    if (std::size_t value = json.find_first_not_of(" \t\r\n:"); value != json.npos) json.remove_prefix(value);
    handler.slice(json, deepest);
}

JsonReader::JsonReader(Handler& handler, std::size_t max_depth) : impl_(std::make_unique<Impl>(handler, max_depth)) {}
JsonReader::~JsonReader() = default;

void JsonReader::feed(std::string_view bytes) {
    if (!bytes.empty()) impl_->run(parse, bytes);
}

void JsonReader::finish() {
    impl_->run(complete, {});
}

}  // namespace matrix_sync
