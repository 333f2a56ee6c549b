#include "core/sessions/filter.hpp"

namespace matrix_sync {

Filter::Filter(const Json& body) {
    const auto& kinds = stream_kinds();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        auto params = body.find(std::string(kinds[i].name));
        if (params == body.end() || params->is_null()) continue;
        streams_[i] = kinds[i].parse(*params);
        body_[std::string(kinds[i].name)] = streams_[i]->params();
    }
    text_ = body_.dump();
}

Filter Filter::merged(const Json& patch) const {
    Json body = body_;
    body.merge_patch(patch);
    return Filter(body);
}

Acknowledged Filter::acknowledged(const Cursors& cursors) const {
    auto cursor = [&](StreamId id) { return stream(id) ? std::optional(cursors[static_cast<std::size_t>(id)].at) : std::nullopt; };
    return {cursor(StreamId::to_device), cursor(StreamId::e2ee)};
}

PagesAsked take_pages(Json& body) {
    PagesAsked pages;
    for (std::size_t i = 0; i < kStreams; ++i) {
        const StreamKind& kind = stream_kinds()[i];
        auto params = body.find(std::string(kind.name));
        if (!kind.paginated || params == body.end() || !params->is_object()) continue;
        auto p = params->find("p");
        if (p == params->end() || !p->is_object()) continue;
        pages[i] = Fields(*p, std::string(kind.name) + ".p").text("since");
        p->erase("since");
    }
    return pages;
}

Resumed resume(const Filter& before, const Filter& now, const SyncToken& token, const PagesAsked& pages, bool may_wait) {
    Resumed resumed;
    for (std::size_t i = 0; i < kStreams; ++i) {
        const Stream* stream = now.stream(i);
        if (!stream) continue;
        const Stream* was = before.stream(i);
        const bool goes_on = was && (was == stream || stream->continues(*was));
        resumed.cursors[i] = goes_on ? token.cursors[i] : stream->start(token.log);
        if (goes_on && stream->params() != was->params()) {
            // These are of the old parameters.
            resumed.cursors[i].paged = false;
            resumed.cursors[i].within = 0;
        }
        resumed.fresh = resumed.fresh || (!goes_on && stream->shows_present());
        if (pages[i] != kFirstPage) continue;
        const bool has_it = goes_on && token.cursors[i].paged && stream->params() == was->params();
        resumed.shows[i] = has_it && may_wait ? Show::changed_first_page : Show::first_page;
        resumed.fresh = resumed.fresh || resumed.shows[i] == Show::first_page;
    }
    return resumed;
}

bool asks_the_same(const Filter& before, const Filter& now, const PagesAsked& pages) {
    for (std::size_t i = 0; i < kStreams; ++i) {
        const Stream* was = before.stream(i);
        const Stream* stream = now.stream(i);
        if (pages[i] || was == stream) continue;
        if (!was || !stream || was->params() != stream->params()) return false;
    }
    return true;
}

}  // namespace matrix_sync
