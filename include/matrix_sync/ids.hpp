// Identifiers and positions as types of their own. None of them is a string or a number that could be mixed up with another.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace matrix_sync {

/// A textual identifier, opaque as the client-server specification says (appendices, "Common Identifier Format"). UTF-8.
template <class Tag>
struct TextId {
    std::string value;

    TextId() = default;
    explicit TextId(std::string text) : value(std::move(text)) {}
    bool empty() const { return value.empty(); }
    auto operator<=>(const TextId&) const = default;
};

/// A number that PostgreSQL gave out; 0 is never given out.
template <class Tag>
struct NumberId {
    std::int64_t value = 0;

    constexpr explicit operator bool() const { return value != 0; }
    constexpr auto operator<=>(const NumberId&) const = default;
};

using UserId = TextId<struct UserTag>;
using DeviceId = TextId<struct DeviceTag>;
using RoomId = TextId<struct RoomTag>;
using EventId = TextId<struct EventTag>;
/// Unguessable name of a session: a UUID in its canonical text form.
using SessionId = TextId<struct SessionTag>;

/// A device of a user, as PostgreSQL numbers it.
using DeviceKey = NumberId<struct DeviceKeyTag>;
/// A room, as PostgreSQL numbers it.
using RoomKey = NumberId<struct RoomKeyTag>;
/// A worker process, as PostgreSQL numbers it.
using WorkerKey = NumberId<struct WorkerKeyTag>;
/// A stored event, whoever polled it first.
using EventRef = NumberId<struct EventRefTag>;
/// An immutable set of state events, without members.
using StateKey = NumberId<struct StateKeyTag>;

/// A place in one device's log: everything a poll brought gets the next number. 0 is before the first. The upper 32 bits grow with each
/// owner that the log gets, so that a number which PostgreSQL lost in a crash is never given out twice.
struct Position {
    std::int64_t value = 0;

    constexpr auto operator<=>(const Position&) const = default;
    constexpr std::int64_t generation() const { return value >> 32; }
};

}  // namespace matrix_sync

template <class Tag>
struct std::hash<matrix_sync::TextId<Tag>> {
    std::size_t operator()(const matrix_sync::TextId<Tag>& id) const noexcept { return std::hash<std::string>{}(id.value); }
};
template <class Tag>
struct std::hash<matrix_sync::NumberId<Tag>> {
    std::size_t operator()(const matrix_sync::NumberId<Tag>& id) const noexcept { return std::hash<std::int64_t>{}(id.value); }
};
