// What a session asked for: its sticky parameters, checked. Immutable, so any worker may keep it for as long as it likes.
#pragma once

#include <array>
#include <memory>
#include <optional>
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

/// The `p.since` of a request, by StreamId. It is of this request alone, and no parameter of the session.
using PagesAsked = std::array<std::optional<std::string>, kStreams>;
inline constexpr const char* kFirstPage = "1";
/// Takes them out of a request's body. Throws MatrixError 400 M_BAD_JSON for one that is no string.
PagesAsked take_pages(Json& body);

/// The cursors of a token when its session asks with another filter: streams that go on keep theirs, new ones start.
struct Resumed {
    Cursors cursors{};
    std::array<Show, kStreams> shows{};
    bool fresh = false;  ///< a stream shows how things are now
};
Resumed resume(const Filter& before, const Filter& now, const SyncToken& token, const PagesAsked& pages, bool may_wait);

/// Whether all streams but those of which a page is asked for are asked for as before.
bool asks_the_same(const Filter& before, const Filter& now, const PagesAsked& pages);

}  // namespace matrix_sync
