// Polling: one classic GET /sync after the other, each stored before the next one acknowledges it.
#include <algorithm>

#include "core/classic/parser.hpp"
#include "core/devices/fetch.hpp"
#include "core/devices/late_members.hpp"
#include "core/devices/poller.hpp"
#include "core/shared_work.hpp"

namespace matrix_sync {

namespace {

/// The homeserver composes a first answer for minutes.
constexpr Milliseconds kFirstPollLimit{600'000};
/// Beyond poll_timeout, for the answer to begin.
constexpr Milliseconds kGrace{30'000};
/// For the state of all rooms that an answer says too little of to begin to come; more for those that failed before.
constexpr Milliseconds kStatesLimit{5'000};
/// For each of them at least.
constexpr Milliseconds kLeastStateLimit{500};
constexpr std::size_t kMostPiece = 1024 * 1024;
constexpr std::size_t kMostError = 64 * 1024;
constexpr std::size_t kMostState = 64 * 1024 * 1024;
constexpr Milliseconds kLeastRest{1'000};
constexpr Milliseconds kMostRest{60'000};
/// A room's state is asked for with its next part, then less and less often.
constexpr Milliseconds kNoStateStep{10'000};
constexpr int kMostNoStateDoublings = 6;
constexpr int kMostEmptyInARow = 10;
constexpr int kMostRefusedSince = 3;

/// As the specification has it in "Filtering". It never grows with the account (rule 4).
std::string filter(int timeline_limit) {
    return R"({"presence":{"not_types":["*"]},"room":{"state":{"lazy_load_members":true},"timeline":{"lazy_load_members":true,"limit":)" +
           std::to_string(timeline_limit) + R"(,"unread_thread_notifications":true}}})";
}

std::string poll_target(const std::optional<std::string>& since, Milliseconds timeout) {
    std::string target = "/_matrix/client/v3/sync?timeout=" + std::to_string(since ? timeout.count() : 0);
    target += "&set_presence=offline&use_state_after=true&org.matrix.msc4222.use_state_after=true";
    target += "&filter=" + percent_encoded(filter(since ? 50 : 20));
    if (since) target += "&since=" + percent_encoded(*since);
    return target;
}

/// Homeservers repeat the key counts in every answer.
bool brings_nothing(const std::vector<RoomPart>& rooms, const AnswerRest& rest, const KeyCounts& known) {
    auto as_known = [](const auto& said, const auto& before) { return !said || said == before; };
    return rooms.empty() && rest.to_device.empty() && rest.account_data.empty() && rest.device_lists_changed.empty() &&
           rest.device_lists_left.empty() && as_known(rest.one_time_keys_count, known.one_time_keys_count) &&
           as_known(rest.unused_fallback_key_types, known.unused_fallback_key_types);
}

/// A place among the first polls in flight.
struct FirstPoll {
    explicit FirstPoll(Worker& of) : worker(of) { ++worker.first_polls; }
    FirstPoll(const FirstPoll&) = delete;
    FirstPoll& operator=(const FirstPoll&) = delete;
    ~FirstPoll() {
        --worker.first_polls;
        worker.first_poll_ended.notify();
    }
    Worker& worker;
};

struct InFlight {
    explicit InFlight(std::uint64_t& polls) : count(polls) { ++count; }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    ~InFlight() { --count; }
    std::uint64_t& count;
};

Task<std::vector<RoomPart>> read_rooms(Loop& loop, std::vector<RawRoom> raw, LateMembers* late) {
    std::vector<RoomPart> rooms;
    Slices slices(loop);
    for (RawRoom& room : raw) {
        rooms.push_back(co_await read_room(std::move(room), slices));
        if (late) co_await late->take(rooms.back(), slices);
    }
    co_return rooms;
}

/// The log is another worker's now, or is not what this worker had made of it.
struct LeaseLost {};

/// The homeserver answered, but not with what was asked for.
struct PollFailed {
    PollFailure kind;
    std::string why;
    std::optional<Milliseconds> at_least;
};

}  // namespace

Task<void> Poller::poll(Lease lease, std::optional<std::string> since) {
    failures_ = refused_since_ = 0;
    goes_on_ = false;
    while (co_await wanted()) {
        PollFailure kind{};
        std::string why;
        std::optional<Milliseconds> at_least;
        try {
            Credential credential = credentials_.front();
            co_await poll_once(credential, lease, since);
        } catch (const LeaseLost&) {
            worker_.log(LogLevel::info, name() + ": its log has gone on without this worker, or has lost its end in the database");
            lease_.reset();
            co_return;
        } catch (const HomeserverUnavailable& error) {
            kind = PollFailure::unreachable;
            why = error.what();
        } catch (const HomeserverNonsense& error) {
            kind = PollFailure::nonsense;
            why = error.what();
        } catch (const PollFailed& failed) {
            kind = failed.kind;
            why = failed.why;
            at_least = failed.at_least;
        }
        if (!why.empty()) co_await rest_after_failure(kind, std::move(why), at_least);
    }
    if (worker_.closing) co_return;
    unreleased_ = std::exchange(lease_, std::nullopt);
    std::vector<Lease> leases = {lease};
    co_await worker_.logs.release(std::move(leases));
    unreleased_.reset();
    tell_followers("free");
    followers_.clear();
}

Task<void> Poller::poll_once(const Credential& credential, Lease lease, std::optional<std::string>& since) {
    std::optional<FirstPoll> first;
    Asked asked;
    if (!since) {
        InFlight waiting(worker_.status.first_polls_waiting);
        while (worker_.first_polls >= worker_.most_first_polls) co_await worker_.first_poll_ended.wait();
        first.emplace(worker_);
        asked.store = co_await worker_.rooms.now();
    }
    if (trouble_ && !device_.whole()) tell_followers("news");  // they wait again, too
    trouble_.reset();
    InFlight in_flight(worker_.status.polls_in_flight);
    ++worker_.status.polls;
    Call call{poll_target(since, credential.settings->poll_timeout), credential.access_token, credential.client};
    call.goes_on = goes_on_;
    asked.here = worker_.loop.now();
    auto exchange = credential.homeserver->get(call);
    if (!exchange) {
        trouble_ = no_connections_to_spare();
        throw PollFailed{PollFailure::no_connections, "no connections to spare (worker_connections)", std::nullopt};
    }
    Milliseconds limit = since ? credential.settings->poll_timeout + kGrace : kFirstPollLimit;
    Exchange::Head head = co_await within(worker_.loop, limit, exchange->head());
    if (!head.from_homeserver) {
        throw PollFailed{PollFailure::unreachable,
                         "nginx itself answered " + std::to_string(head.status) + ": is the homeserver down, or does the location refuse?",
                         std::nullopt};
    }
    if (head.status == 401) {
        co_await refused(credential, *exchange);
        co_return;
    }
    if (head.status != 200) {
        std::string body = co_await read_all(worker_.loop, *exchange, kMostError);
        MatrixError error = passed_on(head.status, body);
        if (head.status == 429) trouble_ = error;
        if (head.status == 400 && since && ++refused_since_ >= kMostRefusedSince) {
            co_await begin_anew(since, error.errcode);
            co_return;
        }
        throw PollFailed{head.status == 429 ? PollFailure::rate_limited : PollFailure::error,
                         "the homeserver answered " + std::to_string(head.status) + " " + error.errcode, error.retry_after};
    }
    co_await receive(credential, *exchange, lease, since, asked);
}

Task<void> Poller::receive(const Credential& credential, Exchange& exchange, Lease lease, std::optional<std::string>& since, Asked asked) {
    const Instant arrived = worker_.loop.now();
    ClassicParser parser;
    LateMembers late(device_.user);
    const Position began = device_.end();
    auto piece_of = [&](std::vector<RoomPart> rooms) {
        LogStore::Piece piece;
        piece.lease = lease;
        piece.from = since;
        piece.began = began;
        piece.asked = asked.here;
        piece.rooms = std::move(rooms);
        return piece;
    };
    // While a piece is being stored the next one is read.
    WorkInFlight pieces(worker_.loop, 1);
    WorkInFlight members(worker_.loop, kMemberStoresAtOnce);
    std::set<RoomId> more_members;
    auto store_late = [&] {
        std::vector<RoomMembers> some = late.next();
        for (const RoomMembers& room : some) more_members.insert(room.room);
        return store_members(std::move(some), asked.store);
    };
    std::exception_ptr broken_off;
    try {
        for (;;) {
            std::string_view bytes = co_await within(worker_.loop, kReadLimit, exchange.read());
            if (bytes.empty()) break;
            parser.feed(bytes);
            if (parser.pending_bytes() < kMostPiece) continue;
            std::vector<RoomPart> rooms = co_await read_rooms(worker_.loop, parser.take_rooms(), since ? nullptr : &late);
            co_await pieces.add(ingest(credential, piece_of(std::move(rooms))));
            if (late.full()) co_await pieces.ended();
            while (late.full()) co_await members.add(store_late());
        }
        parser.finish();
    } catch (...) {
        broken_off = std::current_exception();
    }
    co_await pieces.ended();
    if (broken_off) std::rethrow_exception(broken_off);
    std::vector<RoomPart> rooms = co_await read_rooms(worker_.loop, parser.take_rooms(), since ? nullptr : &late);
    if (!late.empty()) {
        LogStore::Piece before = piece_of(std::move(rooms));
        rooms.clear();
        co_await ingest(credential, std::move(before));
    }
    while (!late.empty()) co_await members.add(store_late());
    co_await members.ended();
    LogStore::Piece piece = piece_of(std::move(rooms));
    piece.more_members.assign(more_members.begin(), more_members.end());
    piece.rest = std::make_unique<AnswerRest>(parser.take_rest());
    std::string next_batch = piece.rest->next_batch;
    KeyCounts known = co_await device_.read_key_counts();
    bool nothing = since && brings_nothing(piece.rooms, *piece.rest, known);
    if (!nothing) {
        co_await ingest(credential, std::move(piece));
        worker_.status.ingest_time.add(worker_.loop.now() - arrived);
    }
    since = std::move(next_batch);
    worker_.access.verified(credential.access_token);
    if (failing_) worker_.log(LogLevel::info, name() + ": is polled again");
    failing_.reset();
    failures_ = refused_since_ = 0;
    bool at_once = worker_.loop.now() - last_good_ < kLeastRest;
    last_good_ = worker_.loop.now();
    goes_on_ = true;
    empty_in_a_row_ = nothing && at_once ? empty_in_a_row_ + 1 : 0;
    // A homeserver that always answers at once with nothing would be asked without a pause.
    if (empty_in_a_row_ > kMostEmptyInARow) co_await loop_sleep(worker_.loop, kLeastRest);
}

/// A homeserver that was restored from a backup does not know where it stood. Its next answer is the whole truth, but nobody can tell
/// whose device lists have changed: sessions that ask for them end, and their clients take all lists for outdated.
Task<void> Poller::begin_anew(std::optional<std::string>& since, std::string errcode) {
    std::vector<SessionId> ended = co_await worker_.sessions.end_e2ee(device_.key);
    for (const SessionId& id : ended) worker_.workers.tell({}, "gone " + id.value);
    since.reset();
    refused_since_ = 0;
    worker_.log(LogLevel::warn, name() + ": the homeserver has refused to go on from where its last answer ended, " +
                                    std::to_string(kMostRefusedSince) + " times (400 " + errcode +
                                    "): was it restored from a backup? Polling begins anew, and sessions that ask for e2ee end: " +
                                    std::to_string(ended.size()));
}

Task<void> Poller::ingest(const Credential& credential, LogStore::Piece piece) {
    Lease lease = piece.lease;
    piece.end = device_.end();
    std::optional<InFlight> in_flight(std::in_place, worker_.status.ingests_in_flight);
    const RoomCache::Moment before = worker_.cache.moment();
    LogStore::Ingested ingested = co_await worker_.logs.ingest(std::move(piece));
    in_flight.reset();
    if (ingested.lease_lost) throw LeaseLost{};
    ++worker_.status.ingests;
    worker_.cache.put(std::move(ingested.stored), before);
    took(ingested);
    // The device waits for what the homeserver says of these rooms, but not for long, however many they are.
    const Instant until = worker_.loop.now() + kStatesLimit;
    for (RoomId& room : ingested.without_state) {
        auto failed = no_state_.find(room);
        if (failed != no_state_.end() && failed->second.not_before > worker_.loop.now()) continue;
        const int failures = failed == no_state_.end() ? 0 : failed->second.failures;
        const Milliseconds left = std::max<Milliseconds>(until - worker_.loop.now(), kLeastStateLimit);
        co_await fetch_state(credential, lease, std::move(room), std::min(left * (1 << failures), kGrace));
    }
}

void Poller::took(LogStore::Ingested& ingested) {
    device_.apply(std::move(ingested.news));
    tell_followers("news");
    for (const auto& [room, state] : ingested.redacted) worker_.redacted(room, state);
}

Task<void> Poller::store_members(std::vector<RoomMembers> members, std::int64_t asked) {
    const std::string rooms =
        members.front().room.value + (members.size() > 1 ? " and of " + std::to_string(members.size() - 1) + " more" : "");
    std::string refused;
    try {
        const std::vector<RoomKey> stored = co_await worker_.rooms.store_members(std::move(members), asked);
        for (RoomKey room : stored) worker_.cache.members_changed(room);
    } catch (const StatementFailed& failure) {
        if (!failure.blames_data()) throw;
        refused = failure.sqlstate;
    }
    // A list of members is asked for when somebody looks, whatever is known of it.
    if (!refused.empty())
        worker_.log(LogLevel::warn,
                    name() + ": some members of room " + rooms + " are left out: PostgreSQL refuses them with SQLSTATE " + refused);
}

Task<void> Poller::fetch_state(const Credential& credential, Lease lease, RoomId room, Milliseconds limit) {
    std::string why;
    try {
        Call call{"/_matrix/client/v3/rooms/" + percent_encoded(room.value) + "/state", credential.access_token, credential.client};
        Fetched fetched = co_await fetch(worker_.loop, *credential.homeserver, std::move(call), limit, kMostState);
        if (!fetched.head.from_homeserver || fetched.head.status != 200) {
            why = "answer " + std::to_string(fetched.head.status);
        } else {
            std::string raw = R"({"state":{"events":)" + fetched.body + "}}";
            Slices slices(worker_.loop);
            RoomId id = room;
            RoomPart part = co_await parse_room(std::move(id), Section::join, std::move(raw), slices);
            why = part.broken;
            // All members of the room; they are fetched when somebody looks.
            std::erase_if(part.state, [](const Event& event) { return event.is_member(); });
            if (why.empty()) {
                LogStore::Ingested ingested = co_await worker_.logs.ingest_aside(lease, device_.end(), room, std::move(part.state));
                if (ingested.lease_lost) throw LeaseLost{};
                took(ingested);
                no_state_.erase(room);
            }
        }
    } catch (const HomeserverUnavailable& error) {
        why = error.what();
    } catch (const HomeserverNonsense& error) {
        why = error.what();
    } catch (const MatrixError& error) {
        why = error.what();
    }
    if (!why.empty()) {
        NoState& failed = no_state_[room];
        failed.not_before = worker_.loop.now() + kNoStateStep * ((1 << failed.failures) - 1);
        const LogLevel level = failed.failures == 0 ? LogLevel::warn : LogLevel::info;
        failed.failures = std::min(failed.failures + 1, kMostNoStateDoublings);
        worker_.log(level, name() + ": room " + room.value + " stays set aside, its state cannot be had: " + why);
    }
}

Task<void> Poller::refused(const Credential& credential, Exchange& exchange) {
    std::string body = co_await read_all(worker_.loop, exchange, kMostError);
    if (!refuses_token(401, body))
        throw PollFailed{PollFailure::unauthorized,
                         "a 401 that is no Matrix error: does something between nginx and the homeserver refuse?", std::nullopt};
    MatrixError why = passed_on(401, body);
    worker_.log(LogLevel::info, name() + ": the homeserver refuses an access token, which ends what it is used for: " + why.errcode);
    std::string token = credential.access_token;
    std::erase_if(credentials_, [&](const Credential& known) { return known.access_token == token; });
    // Last: whoever is told may at once ask another worker, which asks the database.
    struct Told {
        Signal& signal;
        ~Told() { signal.notify(); }
    } told{device_.changed()};
    co_await worker_.access.refuse(std::move(token), std::move(why));
}

Task<void> Poller::rest_after_failure(PollFailure kind, std::string why, std::optional<Milliseconds> at_least) {
    auto stale = std::chrono::duration_cast<std::chrono::seconds>(worker_.loop.now() - last_good_);
    Milliseconds rest = worker_.jittered(std::min(kLeastRest * (1 << std::min(failures_, 6)), kMostRest));
    if (at_least) rest = std::max(rest, worker_.jittered(*at_least) + *at_least / 4);
    ++failures_;
    if (!trouble_) trouble_.emplace(502, "M_UNKNOWN", "The homeserver cannot be reached");
    failed(kind, "poll failed, no good answer for " + std::to_string(stale.count()) + " s: " + why + "; again in " +
                     std::to_string(rest.count()) + " ms");
    if (!device_.whole()) tell_followers("trouble");
    device_.changed().notify();
    co_await loop_sleep(worker_.loop, rest);
}

}  // namespace matrix_sync
