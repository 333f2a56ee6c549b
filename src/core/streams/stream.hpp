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
struct Reading;

/// The order is that of the cursors in a token: new ones go to the end.
enum class StreamId { typing, to_device, e2ee, account_data, room_members, room, room_list };
inline constexpr std::size_t kStreams = 7;

/// A stream's part of an answer ends after the item that passes this, whatever its limit.
inline constexpr std::size_t kMostBytes = 1024 * 1024;

/// How far a session has come in one stream. A stream may read `at` as it likes, as long as it is never beyond the log.
struct Cursor {
    Position at;  ///< a place in the device's log; 0 for a stream that has not begun
    /// Where a limit has cut the change behind `at`: room_members, so many of its events have been sent; room_list, so many of its rooms
    /// are still to be sent.
    std::int32_t within = 0;
    bool paged = false;  ///< the client has the first page of its parameters as it was at `at`

    bool operator==(const Cursor&) const = default;
};
using Cursors = std::array<Cursor, kStreams>;

/// What a request wants of a stream: api.md, "Pagination". Streams without pages have deltas only.
enum class Show {
    deltas,
    first_page,
    changed_first_page,  ///< the client has one: only if it would not be the same
};

/// What one session asks of one stream. Immutable; shared by every request with the same parameters.
class Stream {
  public:
    virtual ~Stream() = default;

    /// The parameters that a later body is merged into, defaults left out.
    virtual Json params() const = 0;

    /// Where a session starts that asks for this stream for the first time, with a log that stands at `since`.
    virtual Cursor start(Position since) const = 0;
    /// Whether a session that asked for `before` goes on from its cursor; else it starts.
    virtual bool continues(const Stream& before) const = 0;
    /// Whether a session that starts is answered at once, since it shall see how things are now.
    virtual bool shows_present() const = 0;

    /// Whether a client at this cursor would see something that is worth ending its wait for. From memory; when memory cannot tell, true.
    virtual bool has_news(const Device& device, const Cursor& cursor, Show show) const = 0;
    /// Appends the stream's part of the answer to `out`, or nothing if there is nothing to say, and returns the cursor that goes with it.
    /// May throw MatrixError: then the request changes nothing.
    virtual Task<Cursor> read(Reading& reading, Cursor cursor, Show show, std::string& out) const = 0;

    /// Of a paginated stream: appends a later page, `token` being its `p.since`. Throws MatrixError 400 M_INVALID_PARAM when there is no
    /// such page, or its snapshot was made with other parameters.
    virtual Task<void> read_page(Reading& reading, std::string token, std::string& out) const;
};

struct StreamKind {
    std::string_view name;  ///< its key in the body and in the answer
    bool paginated;
    /// Checks the merged parameters; throws MatrixError 400 M_BAD_JSON that names the field.
    std::unique_ptr<Stream> (*parse)(const Json& params);
};

/// Every stream there is, by StreamId.
const std::array<StreamKind, kStreams>& stream_kinds();

std::unique_ptr<Stream> parse_typing(const Json& params);
std::unique_ptr<Stream> parse_to_device(const Json& params);
std::unique_ptr<Stream> parse_e2ee(const Json& params);
std::unique_ptr<Stream> parse_account_data(const Json& params);
std::unique_ptr<Stream> parse_room_members(const Json& params);
std::unique_ptr<Stream> parse_room(const Json& params);
std::unique_ptr<Stream> parse_room_list(const Json& params);

}  // namespace matrix_sync
