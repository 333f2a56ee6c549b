// Sessions in PostgreSQL: what they asked for, what they acknowledged, and the deletion of what no session needs any more (rule 23).
#pragma once

#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

class PostgresSessions : public SessionStore {
  public:
    explicit PostgresSessions(Database& database) : database_(database) {}

    Task<Opened> open(DeviceKey device, std::string filter, Acknowledged asks, Position reach, int most) override;
    Task<std::optional<SessionRow>> session(const SessionId& id, Milliseconds expiry) override;
    Task<std::optional<std::string>> filter(const SessionId& id, int number) override;
    Task<std::optional<int>> add_filter(const SessionId& id, int base, std::string filter) override;
    Task<bool> acknowledge(const SessionId& id, DeviceKey device, Acknowledged acknowledged) override;
    Task<std::vector<SessionId>> touch(std::vector<UsedSession> sessions, std::vector<DeviceKey> devices) override;
    Task<std::vector<SessionId>> expire(Milliseconds expiry, int most) override;
    Task<std::vector<SessionId>> end_e2ee(DeviceKey device) override;
    Task<bool> in_use(DeviceKey device, Milliseconds idle) override;

  private:
    Task<std::vector<SessionId>> expire_of(DeviceKey device, std::vector<std::string> candidates, Milliseconds expiry);
    Task<std::vector<SessionId>> touch_some(std::vector<std::string> sessions, std::vector<std::int64_t> reaches,
                                            std::vector<std::int64_t> devices);

    Database& database_;
};

}  // namespace matrix_sync
