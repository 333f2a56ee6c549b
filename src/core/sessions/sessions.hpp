// Sessions in a worker's memory. The store has all of them; a session is here while this worker answers it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/json/value.hpp"
#include "core/sessions/filter.hpp"
#include "core/shared_work.hpp"
#include "matrix_sync/error.hpp"
#include "matrix_sync/ids.hpp"
#include "matrix_sync/loop.hpp"
#include "matrix_sync/store.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// 400 M_UNKNOWN_SYNC_SESSION: the same for whatever is wrong with a token, so that nobody can probe for sessions.
MatrixError unknown_session();

struct Session {
    SessionId id;
    DeviceKey device;
    Acknowledged acknowledged;                             ///< as the store has it
    Position reach;                                        ///< of the token that it last came back with
    std::map<int, std::shared_ptr<const Filter>> filters;  ///< some of those seen here
    std::uint64_t newest_request = 0;                      ///< an older one's wait is over
    bool gone = false;                                     ///< dropped: nothing is answered any more
    bool elsewhere = false;                                ///< another worker has it too, and a request of it may wait there
    bool unsure = false;                                   ///< what the store says of it has to be read again
    bool telling = false;                                  ///< others are being told of a request here; what they said before is older
    Instant used{};
    Instant used_written{};
};

class Sessions {
  public:
    Sessions(Loop& loop, SessionStore& store) : loop_(loop), store_(store) {}

    struct Opened {
        std::shared_ptr<Session> session;
        std::vector<SessionId> dropped;  ///< other workers have to be told
    };
    /// `end`: of the device's log, before which no answer to the session begins.
    Task<Opened> open(DeviceKey device, std::shared_ptr<const Filter> filter, Position end, int most);

    /// Throws MatrixError 400 M_UNKNOWN_SYNC_SESSION when it is gone, or of another device.
    Task<std::shared_ptr<Session>> find(const SessionId& id, DeviceKey device, Milliseconds expiry);
    Task<std::shared_ptr<const Filter>> filter(Session& session, int number);
    /// The number of a filter for a request that came with filter `base`: a repeated request gets the number it got before.
    Task<int> number(Session& session, int base, std::shared_ptr<const Filter> filter);
    /// The session came back with a token: what it had been sent, it has.
    Task<void> acknowledge(Session& session, Acknowledged sent);
    /// From now on the session asks for other streams: `asked` is what it had been sent, `asks` where the streams of now begin or go on.
    Task<void> change_streams(Session& session, Acknowledged asked, Acknowledged asks);

    /// It was dropped, by this worker or another. Gives the device it was of, if it was here.
    DeviceKey drop(const SessionId& id);
    /// A worker has told the others of a request of it, perhaps this one. Gives the device it is of, if an older one here is to end.
    DeviceKey used(const SessionId& id, bool elsewhere);
    /// What was told meanwhile is lost: the store knows which are left. Those whose requests wait are soon among take_used().
    void ask_again();
    /// Those used since they were last written, if that is long enough ago.
    std::vector<UsedSession> take_used(Milliseconds every);
    /// Forgets those unused for so long; the store still has them.
    void forget(Milliseconds idle);
    std::size_t size() const { return sessions_.size(); }

  private:
    static void keep(Session& session, int number, std::shared_ptr<const Filter> filter);
    Task<void> store_acknowledged(Session& session, Acknowledged acknowledged, bool starts);
    std::vector<UsedSession> unwritten_of(DeviceKey device);

    Loop& loop_;
    SessionStore& store_;
    std::unordered_map<SessionId, std::shared_ptr<Session>> sessions_;
};

}  // namespace matrix_sync
