#include "core/sessions/sessions.hpp"

#include <algorithm>
#include <iterator>

#include "matrix_sync/error.hpp"

namespace matrix_sync {

namespace {

/// Of a session, in memory.
constexpr std::size_t kMostFilters = 4;

}  // namespace

MatrixError unknown_session() {
    return {400, "M_UNKNOWN_SYNC_SESSION", "Session unknown or expired"};
}

Task<Sessions::Opened> Sessions::open(DeviceKey device, std::shared_ptr<const Filter> filter, Position end, int most) {
    Acknowledged asks = filter->acknowledged({});
    // Which one is the longest unused must not be judged by what has not been written yet.
    std::vector<UsedSession> unwritten = unwritten_of(device);
    std::vector<SessionId> gone;
    if (!unwritten.empty()) gone = co_await store_.touch(std::move(unwritten), {});
    SessionStore::Opened opened = co_await store_.open(device, filter->text(), asks, end, most);
    opened.dropped.insert(opened.dropped.end(), gone.begin(), gone.end());
    auto session = std::make_shared<Session>();
    session->id = opened.id;
    session->device = device;
    session->acknowledged = asks;
    session->reach = end;
    session->filters.emplace(1, std::move(filter));
    session->used = session->used_written = loop_.now();
    sessions_.emplace(session->id, session);
    co_return Opened{std::move(session), std::move(opened.dropped)};
}

Task<std::shared_ptr<Session>> Sessions::find(const SessionId& id, DeviceKey device, Milliseconds expiry) {
    auto found = sessions_.find(id);
    // Another worker may have used it meanwhile, or nobody: the store knows.
    if (found != sessions_.end() && loop_.now() - found->second->used > expiry) {
        sessions_.erase(found);
        found = sessions_.end();
    }
    std::shared_ptr<Session> session = found == sessions_.end() ? nullptr : found->second;
    if (!session || session->unsure) {
        auto row = co_await store_.session(id, expiry);
        if (!row || row->device != device) throw unknown_session();
        auto& kept = sessions_[id];
        if (!kept || kept->unsure) {
            if (!kept) kept = std::make_shared<Session>();
            kept->id = id;
            kept->device = row->device;
            kept->acknowledged = row->acknowledged;
            kept->reach = row->reach;
            kept->filters.clear();
            kept->unsure = false;
            kept->used_written = loop_.now() - expiry;
            kept->elsewhere = true;
        }
        session = kept;
    }
    if (session->device != device) throw unknown_session();
    session->used = loop_.now();
    co_return session;
}

Task<std::shared_ptr<const Filter>> Sessions::filter(Session& session, int number) {
    auto found = session.filters.find(number);
    if (found != session.filters.end()) co_return found->second;
    auto text = co_await store_.filter(session.id, number);
    if (!text) throw unknown_session();
    auto filter = std::make_shared<const Filter>(parse_body(*text));
    keep(session, number, filter);
    co_return filter;
}

Task<int> Sessions::number(Session& session, int base, std::shared_ptr<const Filter> filter) {
    for (auto known = session.filters.lower_bound(base); known != session.filters.end(); ++known) {
        if (known->second->text() == filter->text()) co_return known->first;
    }
    auto number = co_await store_.add_filter(session.id, base, filter->text());
    if (!number) throw unknown_session();
    session.filters.erase(session.filters.begin(), session.filters.lower_bound(base));
    keep(session, *number, std::move(filter));
    co_return *number;
}

/// The store has them all.
void Sessions::keep(Session& session, int number, std::shared_ptr<const Filter> filter) {
    session.filters.emplace(number, std::move(filter));
    for (auto oldest = session.filters.begin(); session.filters.size() > kMostFilters;) {
        oldest = oldest->first == number ? std::next(oldest) : session.filters.erase(oldest);
    }
}

Task<void> Sessions::acknowledge(Session& session, Acknowledged sent) {
    const Acknowledged stored = session.acknowledged;
    Acknowledged further;
    further.to_device = stored.to_device && sent.to_device ? std::max(stored.to_device, sent.to_device) : stored.to_device;
    further.e2ee = stored.e2ee && sent.e2ee ? std::max(stored.e2ee, sent.e2ee) : stored.e2ee;
    co_await store_acknowledged(session, further, false);
}

Task<void> Sessions::change_streams(Session& session, Acknowledged asked, Acknowledged asks) {
    const Acknowledged stored = session.acknowledged;
    // A stream that starts is stored whatever memory says: the session may have dropped it at another worker. One that is dropped is held
    // until the session comes back without it: it may come back with the token it had, here, as if it had dropped nothing.
    bool starts = (asks.to_device && !asked.to_device) || (asks.e2ee && !asked.e2ee);
    auto now = [](std::optional<Position> has, std::optional<Position> had, std::optional<Position> wants) {
        if (!wants) return had ? has : std::nullopt;
        return had && has ? has : wants;
    };
    const Acknowledged acknowledged{now(stored.to_device, asked.to_device, asks.to_device), now(stored.e2ee, asked.e2ee, asks.e2ee)};
    co_await store_acknowledged(session, acknowledged, starts);
}

Task<void> Sessions::store_acknowledged(Session& session, Acknowledged acknowledged, bool starts) {
    if (acknowledged == session.acknowledged && !starts) co_return;
    bool there = co_await store_.acknowledge(session.id, session.device, acknowledged);
    if (!there) {
        drop(session.id);
        throw unknown_session();
    }
    session.acknowledged = acknowledged;
}

DeviceKey Sessions::drop(const SessionId& id) {
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return {};
    DeviceKey device = found->second->device;
    found->second->gone = true;
    sessions_.erase(found);
    return device;
}

/// All hear of all requests in the same order.
DeviceKey Sessions::used(const SessionId& id, bool elsewhere) {
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return {};
    Session& session = *found->second;
    if (!elsewhere) {
        session.telling = false;
        return {};
    }
    session.elsewhere = true;
    if (session.telling) return {};
    session.newest_request = 0;
    return session.device;
}

void Sessions::ask_again() {
    std::erase_if(sessions_, [](const auto& item) { return item.second.use_count() == 1; });
    for (auto& [id, session] : sessions_) {
        session->unsure = session->elsewhere = true;
        session->telling = false;
        session->used_written = Instant::min();
    }
}

std::vector<UsedSession> Sessions::unwritten_of(DeviceKey device) {
    std::vector<UsedSession> unwritten;
    for (auto& [id, session] : sessions_) {
        if (session->device != device || (session->used <= session->used_written && session.use_count() == 1)) continue;
        session->used = session->used_written = loop_.now();
        unwritten.push_back({id, session->reach});
    }
    return unwritten;
}

std::vector<UsedSession> Sessions::take_used(Milliseconds every) {
    std::vector<UsedSession> used;
    for (auto& [id, session] : sessions_) {
        if (session.use_count() > 1) session->used = loop_.now();  // a request of it waits
        const bool never = session->used_written == Instant::min();
        if (!never && (session->used <= session->used_written || loop_.now() - session->used_written < every)) continue;
        session->used_written = loop_.now();
        used.push_back({id, session->reach});
    }
    return used;
}

void Sessions::forget(Milliseconds idle) {
    std::erase_if(sessions_, [&](const auto& item) {
        const Session& session = *item.second;
        bool written = session.used <= session.used_written;
        return written && item.second.use_count() == 1 && loop_.now() - session.used > idle;
    });
}

}  // namespace matrix_sync
