// The core's event loop on nginx's: one event, which is posted or waits for its time.
#pragma once

#include "matrix_sync/loop.hpp"
#include "nginx/ngx.hpp"

namespace matrix_sync {

class NginxLoop final : public Loop {
  public:
    NginxLoop();
    ~NginxLoop() override;

    Instant now() const override { return Instant{static_cast<std::int64_t>(ngx_current_msec)}; }

  private:
    void run_after(Milliseconds delay) override;
    void take_back();

    ngx_event_t event_{};
    ngx_connection_t identity_{};  ///< nginx's debug log looks for a descriptor behind every timer
};

}  // namespace matrix_sync
