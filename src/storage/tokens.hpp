// Access tokens in PostgreSQL, which sees a SHA-256 of them and never more.
#pragma once

#include "matrix_sync/database.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

class PostgresTokens : public TokenStore {
  public:
    explicit PostgresTokens(Database& database) : database_(database) {}

    Task<std::optional<Known>> token(const std::string& access_token) override;
    Task<void> remember_token(const std::string& access_token, DeviceKey device) override;
    Task<void> forget_token(const std::string& access_token) override;

  private:
    Database& database_;
};

}  // namespace matrix_sync
