// GET requests to a homeserver through nginx's own upstream. Connections, TLS, keepalive, balancing and time-outs are nginx's.
#pragma once

#include "matrix_sync/homeserver.hpp"
#include "matrix_sync/loop.hpp"
#include "nginx/directives.hpp"

namespace matrix_sync {

/// The connection slots and descriptors of this worker. New polls never take the last third, and nobody waits for news on the last eighth,
/// so that devices that are polled go on.
struct ConnectionBudget {
    ngx_uint_t total = 0;
    ngx_uint_t starting = 0;  ///< polls that have not connected to the homeserver yet

    static ConnectionBudget of_this_worker();
    ngx_uint_t in_use() const;
    bool has_room_for_poll(bool goes_on) const;
    bool has_room_to_wait() const;
};

class NginxHomeserver final : public Homeserver {
  public:
    NginxHomeserver(Loop& loop, ConnectionBudget& budget, const PollLocation& poll) : loop_(loop), budget_(budget), poll_(poll) {}

    std::unique_ptr<Exchange> get(const Call& call) override;

  private:
    Loop& loop_;
    ConnectionBudget& budget_;
    const PollLocation& poll_;
};

}  // namespace matrix_sync
