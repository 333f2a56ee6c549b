// PostgreSQL's binary formats: parameters of statements and the cells of their results. Everything is big-endian; an array is its number of
// dimensions, whether it holds NULL, the OID of its elements, and then length and lower bound of each dimension before the elements.
#include <bit>
#include <concepts>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "matrix_sync/database.hpp"

namespace matrix_sync {

namespace {

// pg_type.dat: these numbers never change.
enum class Oid : std::int32_t { boolean = 16, bytea = 17, int8 = 20, int2 = 21, int4 = 23, text = 25 };

constexpr std::size_t uuid_size = 16;

template <std::integral T>
void append(std::string& out, T value) {
    auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (int shift = 8 * (sizeof(T) - 1); shift >= 0; shift -= 8) out += static_cast<char>(bits >> shift & 0xff);
}

template <std::integral T>
T read(std::string_view data) {
    if (data.size() != sizeof(T)) throw std::logic_error("a cell is not as wide as its type");
    std::make_unsigned_t<T> bits = 0;
    for (char byte : data) bits = static_cast<std::make_unsigned_t<T>>(bits << 8 | static_cast<unsigned char>(byte));
    return static_cast<T>(bits);
}

template <std::integral T>
Params::Value number(T value) {
    Params::Value result;
    append(result.data, value);
    return result;
}

void append_element(std::string& out, bool value) {
    append(out, std::int32_t{1});
    out += value ? '\1' : '\0';
}
template <std::integral T>
void append_element(std::string& out, T value) {
    append(out, static_cast<std::int32_t>(sizeof(T)));
    append(out, value);
}
void append_element(std::string& out, const std::string& value) {
    append(out, static_cast<std::int32_t>(value.size()));
    out += value;
}
void append_element(std::string& out, const std::optional<std::string>& value) {
    if (value) {
        append_element(out, *value);
    } else {
        append(out, std::int32_t{-1});
    }
}

template <class T>
bool is_missing(const T&) {
    return false;
}
bool is_missing(const std::optional<std::string>& value) {
    return !value;
}

template <class Values>
Params::Value array(Oid element, const Values& values) {
    bool any_null = false;
    for (const auto& value : values) any_null = any_null || is_missing(value);

    Params::Value result;
    append(result.data, std::int32_t{values.empty() ? 0 : 1});
    append(result.data, std::int32_t{any_null});
    append(result.data, static_cast<std::int32_t>(element));
    if (values.empty()) return result;
    append(result.data, static_cast<std::int32_t>(values.size()));
    append(result.data, std::int32_t{1});
    for (const auto& value : values) append_element(result.data, value);
    return result;
}

/// Reads an array from left to right.
class ArrayReader {
  public:
    ArrayReader(std::string_view data, std::initializer_list<Oid> allowed) : data_(data) {
        auto dimensions = next<std::int32_t>();
        next<std::int32_t>();  // whether there are NULLs: each says so itself
        auto element = next<std::int32_t>();
        bool fits = false;
        for (Oid oid : allowed) fits = fits || element == static_cast<std::int32_t>(oid);
        if (!fits) throw std::logic_error("an array has elements of another type");
        if (dimensions == 0) return;
        if (dimensions != 1) throw std::logic_error("an array has more than one dimension");
        size_ = next<std::int32_t>();
        next<std::int32_t>();  // lower bound
    }

    std::size_t size() const { return static_cast<std::size_t>(size_); }

    std::optional<std::string_view> element() {
        auto width = next<std::int32_t>();
        if (width < 0) return std::nullopt;
        return bytes(static_cast<std::size_t>(width));
    }

  private:
    template <std::integral T>
    T next() {
        return read<T>(bytes(sizeof(T)));
    }
    std::string_view bytes(std::size_t count) {
        if (data_.size() < count) throw std::logic_error("a cell is no array");
        auto result = data_.substr(0, count);
        data_.remove_prefix(count);
        return result;
    }

    std::string_view data_;
    std::int32_t size_ = 0;
};

int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    throw std::invalid_argument("not a UUID");
}

bool dash_at(std::size_t position) {
    return position == 8 || position == 13 || position == 18 || position == 23;
}

}  // namespace

Params& Params::null() {
    values_.push_back({{}, true});
    return *this;
}

Params& Params::boolean(bool value) {
    values_.push_back({std::string(1, value ? '\1' : '\0'), false});
    return *this;
}

Params& Params::smallint(std::int16_t value) {
    values_.push_back(number(value));
    return *this;
}

Params& Params::integer(std::int32_t value) {
    values_.push_back(number(value));
    return *this;
}

Params& Params::bigint(std::int64_t value) {
    values_.push_back(number(value));
    return *this;
}

Params& Params::real(double value) {
    static_assert(sizeof(double) == sizeof(std::int64_t));
    return bigint(std::bit_cast<std::int64_t>(value));
}

Params& Params::text(std::string_view value) {
    return bytes(value);
}

Params& Params::text(const std::optional<std::string>& value) {
    return bytes(value);
}

Params& Params::bytes(std::string_view value) {
    values_.push_back({std::string(value), false});
    return *this;
}

Params& Params::bytes(const std::optional<std::string>& value) {
    return value ? bytes(std::string_view(*value)) : null();
}

Params& Params::uuid(std::string_view canonical) {
    constexpr std::size_t canonical_size = 36;
    if (canonical.size() != canonical_size) throw std::invalid_argument("not a UUID");
    std::string data;
    data.reserve(uuid_size);
    for (std::size_t at = 0; at < canonical_size;) {
        if (dash_at(at)) {
            if (canonical[at++] != '-') throw std::invalid_argument("not a UUID");
            continue;
        }
        data += static_cast<char>(hex_digit(canonical[at]) << 4 | hex_digit(canonical[at + 1]));
        at += 2;
    }
    values_.push_back({std::move(data), false});
    return *this;
}

Params& Params::booleans(const std::vector<bool>& values) {
    values_.push_back(array(Oid::boolean, values));
    return *this;
}

Params& Params::smallints(std::span<const std::int16_t> values) {
    values_.push_back(array(Oid::int2, values));
    return *this;
}

Params& Params::integers(std::span<const std::int32_t> values) {
    values_.push_back(array(Oid::int4, values));
    return *this;
}

Params& Params::bigints(std::span<const std::int64_t> values) {
    values_.push_back(array(Oid::int8, values));
    return *this;
}

Params& Params::texts(std::span<const std::string> values) {
    values_.push_back(array(Oid::text, values));
    return *this;
}

Params& Params::texts(std::span<const std::optional<std::string>> values) {
    values_.push_back(array(Oid::text, values));
    return *this;
}

Params& Params::bytess(std::span<const std::string> values) {
    values_.push_back(array(Oid::bytea, values));
    return *this;
}

Params& Params::bytess(std::span<const std::optional<std::string>> values) {
    values_.push_back(array(Oid::bytea, values));
    return *this;
}

std::string_view Rows::cell(std::size_t row, std::size_t column) const {
    if (row >= size() || column >= source_->columns()) throw std::logic_error("no such cell in a result");
    auto data = source_->cell(row, column);
    if (!data) throw std::logic_error("a cell is NULL");
    return *data;
}

bool Rows::boolean(std::size_t row, std::size_t column) const {
    return read<std::int8_t>(cell(row, column)) != 0;
}

std::int16_t Rows::smallint(std::size_t row, std::size_t column) const {
    return read<std::int16_t>(cell(row, column));
}

std::int32_t Rows::integer(std::size_t row, std::size_t column) const {
    return read<std::int32_t>(cell(row, column));
}

std::int64_t Rows::bigint(std::size_t row, std::size_t column) const {
    return read<std::int64_t>(cell(row, column));
}

std::string_view Rows::text(std::size_t row, std::size_t column) const {
    return cell(row, column);
}

std::optional<std::string> Rows::maybe_text(std::size_t row, std::size_t column) const {
    if (row >= size() || column >= source_->columns()) throw std::logic_error("no such cell in a result");
    auto data = source_->cell(row, column);
    if (!data) return std::nullopt;
    return std::string(*data);
}

std::string Rows::uuid(std::size_t row, std::size_t column) const {
    constexpr std::string_view digits = "0123456789abcdef";
    auto data = cell(row, column);
    if (data.size() != uuid_size) throw std::logic_error("a cell is no UUID");
    std::string canonical;
    for (char byte : data) {
        if (dash_at(canonical.size())) canonical += '-';
        canonical += digits[static_cast<unsigned char>(byte) >> 4];
        canonical += digits[static_cast<unsigned char>(byte) & 0xf];
    }
    return canonical;
}

std::vector<std::int64_t> Rows::bigints(std::size_t row, std::size_t column) const {
    ArrayReader reader(cell(row, column), {Oid::int8});
    std::vector<std::int64_t> result(reader.size());
    for (auto& value : result) {
        auto element = reader.element();
        if (!element) throw std::logic_error("an element of bigint[] is NULL");
        value = read<std::int64_t>(*element);
    }
    return result;
}

std::vector<std::optional<std::string>> Rows::texts(std::size_t row, std::size_t column) const {
    ArrayReader reader(cell(row, column), {Oid::text, Oid::bytea});
    std::vector<std::optional<std::string>> result(reader.size());
    for (auto& value : result) {
        if (auto element = reader.element()) value = std::string(*element);
    }
    return result;
}

}  // namespace matrix_sync
