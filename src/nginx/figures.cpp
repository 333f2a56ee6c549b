#include "nginx/figures.hpp"

#include <algorithm>
#include <atomic>
#include <type_traits>

namespace matrix_sync {

/// Where the shared memory is. A slot for each worker: its WorkerFigures, and behind them SiteFigures for each database.
struct FiguresZone {
    ngx_cycle_t* cycle;
    ngx_uint_t workers;
    ngx_uint_t sites;
    u_char* slots;

    std::size_t slot_size() const { return sizeof(WorkerFigures) + sites * sizeof(SiteFigures); }
    WorkerFigures& worker(ngx_uint_t number) const { return *reinterpret_cast<WorkerFigures*>(slots + number * slot_size()); }
    SiteFigures& site(ngx_uint_t number, ngx_uint_t site) const { return reinterpret_cast<SiteFigures*>(&worker(number) + 1)[site]; }
};

namespace {

template <class Words>
void copy_words(const Words& from, Words& to) {
    static_assert(std::is_trivially_copyable_v<Words> && sizeof(Words) % sizeof(std::uint64_t) == 0);
    auto* in = const_cast<std::uint64_t*>(reinterpret_cast<const std::uint64_t*>(&from));
    auto* out = reinterpret_cast<std::uint64_t*>(&to);
    for (std::size_t i = 0; i < sizeof(Words) / sizeof(std::uint64_t); ++i) {
        std::atomic_ref(out[i]).store(std::atomic_ref(in[i]).load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
}

ngx_int_t set_up(ngx_shm_zone_t* shared, void*) {
    auto& zone = *static_cast<FiguresZone*>(shared->data);
    auto* core = reinterpret_cast<ngx_core_conf_t*>(ngx_get_conf(zone.cycle->conf_ctx, ngx_core_module));
    zone.workers = static_cast<ngx_uint_t>(core->worker_processes);
    auto* pool = reinterpret_cast<ngx_slab_pool_t*>(shared->shm.addr);
    zone.slots = static_cast<u_char*>(ngx_slab_calloc(pool, zone.workers * zone.slot_size()));
    return zone.slots ? NGX_OK : NGX_ERROR;
}

}  // namespace

std::vector<const DatabaseConf*> different_databases(const MainConf& main) {
    std::vector<const DatabaseConf*> databases;
    auto** locations = static_cast<LocationConf**>(main.locations.elts);
    for (ngx_uint_t i = 0; i < main.locations.nelts; ++i) {
        const DatabaseConf* database = locations[i]->database;
        auto same = [&](const DatabaseConf* other) { return view(other->conninfo) == view(database->conninfo); };
        if (std::ranges::none_of(databases, same)) databases.push_back(database);
    }
    return databases;
}

ngx_int_t add_figures_zone(ngx_conf_t* cf, MainConf& main) {
    auto* zone = static_cast<FiguresZone*>(ngx_pcalloc(cf->pool, sizeof(FiguresZone)));
    if (!zone) return NGX_ERROR;
    zone->cycle = cf->cycle;
    zone->sites = different_databases(main).size();
    auto* core = reinterpret_cast<ngx_core_conf_t*>(ngx_get_conf(cf->cycle->conf_ctx, ngx_core_module));
    // "worker_processes" may stand behind the http block. What is not used of the memory is never touched.
    auto most =
        core->worker_processes == NGX_CONF_UNSET ? std::size_t{NGX_MAX_PROCESSES} : static_cast<std::size_t>(core->worker_processes);
    std::size_t size = most * zone->slot_size();
    size += size / 64 + 8 * ngx_pagesize;  // the allocator's own
    ngx_str_t name = ngx_string("matrix_sync_figures");
    ngx_shm_zone_t* shared = ngx_shared_memory_add(cf, &name, size, &ngx_http_matrix_sync_module);
    if (!shared) return NGX_ERROR;
    shared->init = set_up;
    shared->data = zone;
    shared->noreuse = 1;
    main.figures = zone;
    return NGX_OK;
}

ngx_uint_t workers_with_figures(const MainConf& main) {
    return main.figures->workers;
}

void write_figures(const MainConf& main, const Figures& figures) {
    const FiguresZone& zone = *main.figures;
    if (ngx_worker >= zone.workers) return;
    for (ngx_uint_t i = 0; i < std::min(zone.sites, figures.sites.size()); ++i) copy_words(figures.sites[i], zone.site(ngx_worker, i));
    copy_words(figures.worker, zone.worker(ngx_worker));
}

void clear_figures(const MainConf& main) {
    if (ngx_worker < main.figures->workers) copy_words(WorkerFigures{}, main.figures->worker(ngx_worker));
}

std::optional<Figures> read_figures(const MainConf& main, ngx_uint_t worker) {
    const FiguresZone& zone = *main.figures;
    Figures figures;
    copy_words(zone.worker(worker), figures.worker);
    if (figures.worker.written_ms == 0) return std::nullopt;
    figures.sites.resize(zone.sites);
    for (ngx_uint_t i = 0; i < zone.sites; ++i) copy_words(zone.site(worker, i), figures.sites[i]);
    return figures;
}

}  // namespace matrix_sync
