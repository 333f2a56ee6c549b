// Every figure of the status page, once: what it is called in JSON and by Prometheus, what it means, and where it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace matrix_sync {

struct Metric {
    enum class Type { counter, gauge, histogram };
    enum class Unit { number, milliseconds };  ///< Prometheus gets seconds

    std::string_view group;  ///< the object in JSON that it stands in; empty: none
    std::string key;         ///< in JSON
    std::string_view name;   ///< for Prometheus, without its prefix; those with the same stand together
    std::string labels;      ///< for Prometheus: `cache="events"`
    Type type;
    Unit unit;
    std::size_t offset;  ///< a word, or a Histogram, in WorkerFigures or SiteFigures
    std::string_view help;
};

inline constexpr std::string_view metric_prefix = "matrix_sync_";

/// Of a worker: in WorkerFigures.
const std::vector<Metric>& worker_metrics();
/// Of a worker and a database: in SiteFigures.
const std::vector<Metric>& site_metrics();

}  // namespace matrix_sync
