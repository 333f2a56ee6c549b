// A stream of sync v3: one part of a request's body, and the part of the answer that goes with it.
//
// A new stream is one file that implements Stream, one StreamId and one row in the table of streams.cpp.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "core/json/value.hpp"
#include "matrix_sync/ids.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

class Device;

/// The order is that of the cursors in a token: new ones go to the end.
enum class StreamId { typing, to_device, e2ee, account_data };
inline constexpr std::size_t kStreams = 4;

/// How far a session has come in each stream: a place in the device's log; 0 for a stream that has not begun. A stream may read it as it
/// likes, as long as it is never beyond the log.
using Cursors = std::array<Position, kStreams>;

/// What one session asks of one stream. Immutable; shared by every request with the same parameters.
class Stream {
  public:
    virtual ~Stream() = default;

    /// The parameters that a later body is merged into, defaults left out.
    virtual Json params() const = 0;

    /// Where a session starts that asks for this stream for the first time, with a log that stands at `since`.
    virtual Position start(Position since) const = 0;
    /// Whether a session that asked for `before` goes on from its cursor; else it starts.
    virtual bool continues(const Stream& before) const = 0;
    /// Whether a session that starts is answered at once, since it shall see how things are now.
    virtual bool shows_present() const = 0;

    /// Whether a client at this cursor would see something that is worth ending its wait for. From memory; when memory cannot tell, true.
    virtual bool has_news(const Device& device, Position cursor) const = 0;
    /// Appends the stream's part of the answer to `out`, or nothing if there is nothing to say, and returns the cursor that goes with it.
    virtual Task<Position> read(Device& device, Position cursor, std::string& out) const = 0;
};

struct StreamKind {
    std::string_view name;  ///< its key in the body and in the answer
    /// Checks the merged parameters; throws MatrixError 400 M_BAD_JSON that names the field.
    std::unique_ptr<Stream> (*parse)(const Json& params);
};

/// Every stream there is, by StreamId.
const std::array<StreamKind, kStreams>& stream_kinds();

std::unique_ptr<Stream> parse_typing(const Json& params);
std::unique_ptr<Stream> parse_to_device(const Json& params);
std::unique_ptr<Stream> parse_e2ee(const Json& params);
std::unique_ptr<Stream> parse_account_data(const Json& params);

}  // namespace matrix_sync
