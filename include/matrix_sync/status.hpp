// What one worker's service knows of itself in numbers: since the worker started, unless they are of now. Nothing but 64-bit words, so that
// the shell can lay them where every worker of the host reads them.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace matrix_sync {

/// How often something took how long.
struct Histogram {
    static constexpr std::array<std::uint64_t, 9> kBounds{10, 25, 50, 100, 250, 500, 1'000, 5'000, 30'000};  ///< milliseconds

    std::array<std::uint64_t, kBounds.size()> within{};  ///< each counts what the ones before it do not
    std::uint64_t count = 0;
    std::uint64_t sum_ms = 0;

    void add(std::chrono::milliseconds took) {
        auto ms = static_cast<std::uint64_t>(std::max(took.count(), std::chrono::milliseconds::rep{0}));
        auto bound = std::ranges::lower_bound(kBounds, ms);
        if (bound != kBounds.end()) ++within[static_cast<std::size_t>(bound - kBounds.begin())];
        ++count;
        sum_ms += ms;
    }
};

/// What became of requests. The last one is everything that has no kind of its own.
struct ReplyKind {
    std::uint64_t status;
    std::string_view errcode;
};
inline constexpr std::array<ReplyKind, 14> kReplyKinds{{
    {200, ""},
    {400, "M_BAD_JSON"},
    {400, "M_INVALID_PARAM"},
    {400, "M_NOT_JSON"},
    {400, "M_UNKNOWN_SYNC_SESSION"},
    {401, "M_MISSING_TOKEN"},
    {401, "M_UNKNOWN_TOKEN"},
    {403, "M_FORBIDDEN"},
    {404, "M_NOT_FOUND"},
    {429, "M_LIMIT_EXCEEDED"},
    {500, "M_UNKNOWN"},
    {502, "M_UNKNOWN"},
    {503, "M_UNKNOWN"},
    {0, ""},
}};

/// Why a device's log does not go on.
enum class PollFailure {
    unreachable,     ///< no answer, one that was cut off, or one that nginx made up itself
    error,           ///< an answer that says so, as a rule 5xx
    rate_limited,    ///< 429
    nonsense,        ///< an answer that is none
    unauthorized,    ///< a 401 that is not the homeserver's word about the token
    no_connections,  ///< the worker has none to spare
    database,        ///< what was polled could not be stored, or another worker's log not be read
};
inline constexpr std::array<std::string_view, 7> kPollFailures{"unreachable",  "error",          "rate_limited", "nonsense",
                                                               "unauthorized", "no_connections", "database"};

struct CacheStatus {
    std::uint64_t bytes = 0;    ///< now
    std::uint64_t entries = 0;  ///< now
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
};

struct Status {
    std::uint64_t requests = 0;
    std::array<std::uint64_t, kReplyKinds.size()> replies{};
    std::uint64_t waiting = 0;   ///< now
    std::uint64_t sessions = 0;  ///< now, in memory
    std::uint64_t devices = 0;   ///< now, in memory
    std::uint64_t owned = 0;     ///< now, polled by this worker
    std::uint64_t followed = 0;  ///< now, polled by others and served here
    std::uint64_t tokens_refused = 0;

    std::uint64_t polls = 0;
    std::uint64_t polls_in_flight = 0;      ///< now, waiting for the homeserver or being read
    std::uint64_t first_polls_waiting = 0;  ///< now, for one of the few places there are
    std::array<std::uint64_t, kPollFailures.size()> polls_failed{};
    std::uint64_t polls_failing = 0;  ///< now, devices that have not had a good answer since a failure
    std::uint64_t stalest_ms = 0;     ///< now, the longest that a polled device has been without a good answer
    std::uint64_t ingests = 0;
    std::uint64_t ingests_in_flight = 0;  ///< now, being stored or waiting for it
    Histogram ingest_time;                ///< from when an answer with news begins to arrive until all of it is stored
    std::uint64_t tail_lag_ms = 0;        ///< now, the longest that a follower has not read what it was told of
    Histogram tail_time;                  ///< from when a follower is told of news until it has read them

    CacheStatus cached_events;
    CacheStatus cached_states;
    CacheStatus cached_members;          ///< entries are rooms
    std::uint64_t member_lists = 0;      ///< now, in memory
    std::uint64_t members_in_lists = 0;  ///< now

    void failed(PollFailure why) { ++polls_failed[static_cast<std::size_t>(why)]; }
    void replied(int status, std::string_view errcode) {
        auto same = [&](const ReplyKind& kind) { return kind.status == static_cast<std::uint64_t>(status) && kind.errcode == errcode; };
        auto kind = std::ranges::find_if(kReplyKinds, same);
        ++replies[std::min(static_cast<std::size_t>(kind - kReplyKinds.begin()), replies.size() - 1)];
    }
};

}  // namespace matrix_sync
