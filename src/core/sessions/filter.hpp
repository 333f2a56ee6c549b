// What a session asked for: its sticky parameters, checked. Immutable, so any worker may keep it for as long as it likes.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "core/json/value.hpp"
#include "core/sessions/token.hpp"
#include "core/streams/stream.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

class Filter {
  public:
    /// No stream at all: what a new session starts from.
    Filter() = default;
    /// Throws MatrixError 400 M_BAD_JSON that names the field. Unknown keys are dropped.
    explicit Filter(const Json& body);

    /// The filter with a request's body laid over it, as a JSON Merge Patch (RFC 7396).
    Filter merged(const Json& patch) const;

    /// Nullptr when the stream is not asked for.
    const Stream* stream(StreamId id) const { return streams_[static_cast<std::size_t>(id)].get(); }
    const Stream* stream(std::size_t index) const { return streams_[index].get(); }
    /// The same parameters give the same text.
    const std::string& text() const { return text_; }

    /// How far the streams are whose messages are deleted once every session has acknowledged them.
    Acknowledged acknowledged(const Cursors& cursors) const;

  private:
    Json body_ = Json::object();
    std::string text_ = "{}";
    std::array<std::shared_ptr<const Stream>, kStreams> streams_;
};

/// The cursors of a token when its session asks with another filter: streams that go on keep theirs, new ones start. `fresh` says whether
/// one of those that start shows how things are now.
struct Resumed {
    Cursors cursors{};
    bool fresh = false;
};
Resumed resume(const Filter& before, const Filter& now, const SyncToken& token);

}  // namespace matrix_sync
