#include "nginx/status.hpp"

#include <cstring>
#include <span>

#include "core/json/writer.hpp"
#include "nginx/figures.hpp"
#include "nginx/metrics.hpp"
#include "nginx/reply.hpp"
#include "nginx/version.hpp"
#include "nginx/worker_process.hpp"

namespace matrix_sync {

namespace {

/// A worker writes its figures every second. Older than this they say nothing about now: it hangs, or died and was not replaced.
constexpr std::uint64_t most_age_ms = 10'000;
constexpr std::string_view prometheus_type = "text/plain; version=0.0.4; charset=utf-8";

struct Shown {
    ngx_uint_t number;
    std::uint64_t age_ms;
    Figures figures;

    bool current() const { return age_ms <= most_age_ms; }
};

std::vector<Shown> workers_shown(const MainConf& main) {
    std::vector<Shown> shown;
    for (ngx_uint_t worker = 0; worker < workers_with_figures(main); ++worker) {
        auto figures = read_figures(main, worker);
        if (!figures) continue;
        std::uint64_t now = ngx_current_msec;
        std::uint64_t age = now - std::min(now, figures->worker.written_ms);
        shown.push_back({worker, age, std::move(*figures)});
    }
    return shown;
}

template <class Value>
Value value_at(const void* figures, std::size_t offset) {
    Value value;
    std::memcpy(&value, static_cast<const char*>(figures) + offset, sizeof value);
    return value;
}

// --- JSON

std::int64_t number(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

void write_histogram(JsonWriter& json, const Histogram& histogram) {
    json.object().key("count").number(number(histogram.count)).key("sum_ms").number(number(histogram.sum_ms));
    std::uint64_t up_to = 0;
    for (std::size_t i = 0; i < histogram.within.size(); ++i) {
        up_to += histogram.within[i];
        json.key("within_" + std::to_string(Histogram::kBounds[i]) + "_ms").number(number(up_to));
    }
    json.end_object();
}

/// As members of the object that is open.
void write_json(JsonWriter& json, const std::vector<Metric>& metrics, const void* figures) {
    std::string_view group;
    for (const Metric& metric : metrics) {
        if (metric.group != group) {
            if (!group.empty()) json.end_object();
            if (!metric.group.empty()) json.key(metric.group).object();
            group = metric.group;
        }
        json.key(metric.key);
        if (metric.type == Metric::Type::histogram) {
            write_histogram(json, value_at<Histogram>(figures, metric.offset));
        } else {
            json.number(number(value_at<std::uint64_t>(figures, metric.offset)));
        }
    }
    if (!group.empty()) json.end_object();
}

std::string json_page(const WorkerProcess& process, const std::vector<Shown>& workers) {
    JsonWriter json;
    json.object().key("version").string(module_version).key("workers").array();
    for (const Shown& worker : workers) {
        json.object().key("worker").number(number(worker.number)).key("pid").number(number(worker.figures.worker.pid));
        json.key("age_ms").number(number(worker.age_ms));
        if (worker.current()) {
            write_json(json, worker_metrics(), &worker.figures.worker);
            json.key("databases").array();
            for (std::size_t i = 0; i < worker.figures.sites.size(); ++i) {
                json.object().key("database").string(process.sites()[i]->label());
                write_json(json, site_metrics(), &worker.figures.sites[i]);
                json.end_object();
            }
            json.end_array();
        }
        json.end_object();
    }
    return json.end_array().end_object().take() + "\n";
}

// --- Prometheus

std::string seconds(std::uint64_t ms) {
    std::string fraction = std::to_string(1000 + ms % 1000);
    fraction[0] = '.';
    return std::to_string(ms / 1000) + fraction;
}

std::string escaped(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '\\' || c == '"') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

class Exposition {
  public:
    void metric(std::string_view name, std::string_view type, std::string_view help) {
        full_name_ = metric_prefix;
        full_name_ += name;
        out_.append("# HELP ").append(full_name_).append(" ").append(help).append("\n");
        out_.append("# TYPE ").append(full_name_).append(" ").append(type).append("\n");
    }
    void sample(std::string_view suffix, std::string_view labels, std::string_view value) {
        out_.append(full_name_).append(suffix).append("{").append(labels).append("} ").append(value).append("\n");
    }
    void histogram(const std::string& labels, const Histogram& histogram) {
        std::uint64_t up_to = 0;
        for (std::size_t i = 0; i < histogram.within.size(); ++i) {
            up_to += histogram.within[i];
            sample("_bucket", labels + ",le=\"" + seconds(Histogram::kBounds[i]) + '"', std::to_string(up_to));
        }
        // Words are read one by one: what all buckets hold is never less than what one of them does.
        const std::string all = std::to_string(std::max(up_to, histogram.count));
        sample("_bucket", labels + ",le=\"+Inf\"", all);
        sample("_sum", labels, seconds(histogram.sum_ms));
        sample("_count", labels, all);
    }
    std::string take() { return std::move(out_); }

  private:
    std::string full_name_;
    std::string out_;
};

std::string_view type_name(Metric::Type type) {
    switch (type) {
        case Metric::Type::counter:
            return "counter";
        case Metric::Type::gauge:
            return "gauge";
        case Metric::Type::histogram:
            break;
    }
    return "histogram";
}

/// Figures of one kind, and the labels that say of whom they are.
struct Labelled {
    std::string labels;
    const void* figures;
};

void write_metrics(Exposition& page, const std::vector<Metric>& metrics, const std::vector<Labelled>& all) {
    std::string_view name;
    for (std::size_t first = 0; first < metrics.size();) {
        std::size_t end = first;
        while (end < metrics.size() && metrics[end].name == metrics[first].name) ++end;
        page.metric(metrics[first].name, type_name(metrics[first].type), metrics[first].help);
        for (const Labelled& of : all) {
            for (const Metric& metric : std::span(metrics).subspan(first, end - first)) {
                std::string labels = metric.labels.empty() ? of.labels : of.labels + ',' + metric.labels;
                if (metric.type == Metric::Type::histogram) {
                    page.histogram(labels, value_at<Histogram>(of.figures, metric.offset));
                    continue;
                }
                auto value = value_at<std::uint64_t>(of.figures, metric.offset);
                page.sample("", labels, metric.unit == Metric::Unit::milliseconds ? seconds(value) : std::to_string(value));
            }
        }
        first = end;
    }
}

std::string prometheus_page(const WorkerProcess& process, const std::vector<Shown>& workers) {
    Exposition page;
    page.metric("build_info", "gauge", "The module's version.");
    page.sample("", "version=\"" + std::string(module_version) + '"', "1");
    page.metric("figures_age_seconds", "gauge", "How long ago a worker wrote its figures; those older than 10 s are left out.");
    std::vector<Labelled> of_workers;
    std::vector<Labelled> of_sites;
    for (const Shown& worker : workers) {
        const std::string labels = "worker=\"" + std::to_string(worker.number) + '"';
        page.sample("", labels, seconds(worker.age_ms));
        if (!worker.current()) continue;
        of_workers.push_back({labels, &worker.figures.worker});
        for (std::size_t i = 0; i < worker.figures.sites.size(); ++i) {
            of_sites.push_back({labels + ",database=\"" + escaped(process.sites()[i]->label()) + '"', &worker.figures.sites[i]});
        }
    }
    write_metrics(page, worker_metrics(), of_workers);
    write_metrics(page, site_metrics(), of_sites);
    return page.take();
}

}  // namespace

ngx_int_t serve_status(ngx_http_request_t* r) {
    return guard(r->connection->log, ngx_int_t{NGX_HTTP_INTERNAL_SERVER_ERROR}, [&] {
        if (ngx_int_t rc = ngx_http_discard_request_body(r); rc != NGX_OK) return rc;
        if (r->method != NGX_HTTP_GET && r->method != NGX_HTTP_HEAD) {
            if (!add_response_header(r, "Allow", "GET, HEAD")) return ngx_int_t{NGX_HTTP_INTERNAL_SERVER_ERROR};
            return send_reply(r, error_reply(405, "M_UNRECOGNIZED", "The status page can only be read"));
        }
        auto* worker = WorkerProcess::current();
        if (!worker) return send_reply(r, error_reply(503, "M_UNKNOWN", "No location here says matrix_sync"));
        worker->publish();
        auto& main = *static_cast<MainConf*>(ngx_http_get_module_main_conf(r, ngx_http_matrix_sync_module));
        std::vector<Shown> workers = workers_shown(main);
        Reply reply;
        if (location_conf(r).status == StatusFormat::prometheus) {
            reply.body = prometheus_page(*worker, workers);
            return send_reply(r, std::move(reply), prometheus_type);
        }
        reply.body = json_page(*worker, workers);
        return send_reply(r, std::move(reply));
    });
}

}  // namespace matrix_sync
