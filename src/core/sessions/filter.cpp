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
    auto cursor = [&](StreamId id) { return stream(id) ? std::optional(cursors[static_cast<std::size_t>(id)]) : std::nullopt; };
    return {cursor(StreamId::to_device), cursor(StreamId::e2ee)};
}

Resumed resume(const Filter& before, const Filter& now, const SyncToken& token) {
    Resumed resumed;
    for (std::size_t i = 0; i < kStreams; ++i) {
        const Stream* stream = now.stream(i);
        if (!stream) continue;
        const Stream* was = before.stream(i);
        bool goes_on = was && (was == stream || stream->continues(*was));
        resumed.cursors[i] = goes_on ? token.cursors[i] : stream->start(token.log);
        resumed.fresh = resumed.fresh || (!goes_on && stream->shows_present());
    }
    return resumed;
}

}  // namespace matrix_sync
