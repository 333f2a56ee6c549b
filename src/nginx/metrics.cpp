#include "nginx/metrics.hpp"

#include "nginx/figures.hpp"

namespace matrix_sync {

namespace {

using enum Metric::Type;
using enum Metric::Unit;

std::string label(std::string_view name, std::string_view value) {
    return std::string(name) + "=\"" + std::string(value) + '"';
}

void add_replies(std::vector<Metric>& metrics) {
    for (std::size_t i = 0; i < kReplyKinds.size(); ++i) {
        const ReplyKind& kind = kReplyKinds[i];
        std::string status = kind.status == 0 ? "other" : std::to_string(kind.status);
        std::string key = kind.errcode.empty() ? status : status + ' ' + std::string(kind.errcode);
        metrics.push_back({"replies", key, "replies_total", label("status", status) + ',' + label("errcode", kind.errcode), counter, number,
                           offsetof(SiteFigures, service.replies) + i * sizeof(std::uint64_t),
                           "Requests answered, by status and errcode."});
    }
}

void add_poll_failures(std::vector<Metric>& metrics) {
    for (std::size_t i = 0; i < kPollFailures.size(); ++i) {
        metrics.push_back({"polls_failed", std::string(kPollFailures[i]), "polls_failed_total", label("reason", kPollFailures[i]), counter,
                           number, offsetof(SiteFigures, service.polls_failed) + i * sizeof(std::uint64_t),
                           "Failures to go on with a device's log, by reason."});
    }
}

void add_caches(std::vector<Metric>& metrics) {
    struct Cache {
        std::string_view name;
        std::size_t offset;
    };
    const std::vector<Cache> caches = {{"events", offsetof(SiteFigures, service.cached_events)},
                                       {"states", offsetof(SiteFigures, service.cached_states)},
                                       {"members", offsetof(SiteFigures, service.cached_members)}};
    auto add = [&](std::string_view what, std::string_view name, Metric::Type type, std::size_t offset, std::string_view help) {
        for (const Cache& cache : caches) {
            metrics.push_back({"cache", std::string(cache.name) + '_' + std::string(what), name, label("cache", cache.name), type, number,
                               cache.offset + offset, help});
        }
    };
    add("bytes", "cache_bytes", gauge, offsetof(CacheStatus, bytes), "Memory that a cache takes, as it counts it.");
    add("entries", "cache_entries", gauge, offsetof(CacheStatus, entries), "Events, state sets, or rooms with members in a cache.");
    add("hits", "cache_hits_total", counter, offsetof(CacheStatus, hits), "What was found in a cache.");
    add("misses", "cache_misses_total", counter, offsetof(CacheStatus, misses), "What had to be read from the database.");
}

std::vector<Metric> metrics_of_service() {
    std::vector<Metric> metrics = {
        {"", "requests", "requests_total", "", counter, number, offsetof(SiteFigures, service.requests),
         "Requests that reached the module with a body it could read."},
    };
    add_replies(metrics);
    metrics.insert(
        metrics.end(),
        {
            {"", "waiting", "requests_waiting", "", gauge, number, offsetof(SiteFigures, service.waiting), "Requests that wait for news."},
            {"", "sessions", "sessions", "", gauge, number, offsetof(SiteFigures, service.sessions), "Sessions in memory."},
            {"", "devices", "devices", "", gauge, number, offsetof(SiteFigures, service.devices), "Devices in memory."},
            {"", "owned", "devices_polled", "", gauge, number, offsetof(SiteFigures, service.owned), "Devices that the worker polls."},
            {"", "followed", "devices_followed", "", gauge, number, offsetof(SiteFigures, service.followed),
             "Devices that the worker serves while another one polls."},
            {"", "polls_failing", "devices_failing", "", gauge, number, offsetof(SiteFigures, service.polls_failing),
             "Devices without a good answer since a failure."},
            {"", "stalest_ms", "poll_staleness_seconds", "", gauge, milliseconds, offsetof(SiteFigures, service.stalest_ms),
             "The longest that a polled device has been without a good answer."},
            {"", "tokens_refused", "tokens_refused_total", "", counter, number, offsetof(SiteFigures, service.tokens_refused),
             "Access tokens that the homeserver refused."},
            {"", "polls", "polls_total", "", counter, number, offsetof(SiteFigures, service.polls), "Requests for a device's news."},
            {"", "polls_in_flight", "polls_in_flight", "", gauge, number, offsetof(SiteFigures, service.polls_in_flight),
             "Polls that wait for the homeserver, or whose answer is read."},
            {"", "first_polls_waiting", "first_polls_waiting", "", gauge, number, offsetof(SiteFigures, service.first_polls_waiting),
             "Devices whose first poll waits for one of the places that a worker has for these."},
        });
    add_poll_failures(metrics);
    metrics.insert(metrics.end(),
                   {
                       {"", "ingests", "ingests_total", "", counter, number, offsetof(SiteFigures, service.ingests),
                        "Answers of the homeserver, or pieces of them, that were stored."},
                       {"", "ingests_in_flight", "ingests_in_flight", "", gauge, number, offsetof(SiteFigures, service.ingests_in_flight),
                        "Answers, or pieces of them, that are being stored or wait for it."},
                       {"", "ingest_time", "ingest_seconds", "", histogram, milliseconds, offsetof(SiteFigures, service.ingest_time),
                        "From when an answer with news begins to arrive until all of it is stored."},
                       {"", "tail_lag_ms", "tail_lag_seconds", "", gauge, milliseconds, offsetof(SiteFigures, service.tail_lag_ms),
                        "The longest that a device followed here has not been read up to what its owner told."},
                       {"", "tail_time", "tail_seconds", "", histogram, milliseconds, offsetof(SiteFigures, service.tail_time),
                        "From when a worker is told of news that another one polled until it has read them."},
                   });
    add_caches(metrics);
    metrics.insert(metrics.end(), {
                                      {"cache", "member_lists", "member_lists", "", gauge, number,
                                       offsetof(SiteFigures, service.member_lists), "Rooms whose member list is in memory."},
                                      {"cache", "members_in_lists", "member_list_members", "", gauge, number,
                                       offsetof(SiteFigures, service.members_in_lists), "Members in these lists."},
                                  });
    return metrics;
}

std::vector<Metric> metrics_of_site() {
    std::vector<Metric> metrics = metrics_of_service();
    auto add = [&](std::string_view key, std::string_view name, Metric::Type type, std::size_t offset, std::string_view help) {
        metrics.push_back({"postgresql", std::string(key), name, "", type, number, offsetof(SiteFigures, database) + offset, help});
    };
    add("connected", "postgresql_up", gauge, offsetof(DatabaseStatus, connected), "Whether the connection that listens is there.");
    add("connections", "postgresql_connections", gauge, offsetof(DatabaseStatus, connections), "Open connections to the database.");
    add("queued", "postgresql_queued", gauge, offsetof(DatabaseStatus, waiting), "Transactions that wait for a connection.");
    add("queries", "postgresql_queries_total", counter, offsetof(DatabaseStatus, queries), "Statements outside of transactions.");
    add("transactions", "postgresql_transactions_total", counter, offsetof(DatabaseStatus, transactions), "Transactions begun.");
    add("errors", "postgresql_errors_total", counter, offsetof(DatabaseStatus, errors), "Statements that PostgreSQL refused.");
    add("lost", "postgresql_lost_total", counter, offsetof(DatabaseStatus, lost), "Times that the connection that listens was lost.");
    return metrics;
}

}  // namespace

const std::vector<Metric>& worker_metrics() {
    static const std::vector<Metric> metrics = {
        {"connections", "total", "worker_connections", "", gauge, number, offsetof(WorkerFigures, connections),
         "Connections that the worker may have, by worker_connections and its limit of open files."},
        {"connections", "used", "worker_connections_used", "", gauge, number, offsetof(WorkerFigures, connections_used),
         "Connections of any kind that the worker has."},
        {"connections", "free", "worker_connections_free", "", gauge, number, offsetof(WorkerFigures, connections_free),
         "Slots of worker_connections that are free."},
    };
    return metrics;
}

const std::vector<Metric>& site_metrics() {
    static const std::vector<Metric> metrics = metrics_of_site();
    return metrics;
}

}  // namespace matrix_sync
