// libpq's connection strings: checked when the configuration is read, completed when a connection is made. A password is never shown.
#pragma once

#include <string>
#include <vector>

namespace matrix_sync {

struct CheckedConninfo {
    std::string wrong;  ///< empty: it is right
    std::string label;  ///< host, port, database and user
};
CheckedConninfo check_conninfo(const std::string& conninfo);

/// For PQconnectStartParams: what the operator said, and what a connection of ours needs beside it.
class ConnectionParameters {
  public:
    explicit ConnectionParameters(const std::string& conninfo);

    std::vector<const char*> keywords() const;
    /// Valid until next_host().
    std::vector<const char*> values() const;
    /// Of several hosts the first goes behind the others: libpq itself would wait for one that is silent each time, and never come to the
    /// next.
    void next_host();

  private:
    void add_default(const char* keyword, const char* value);

    std::vector<std::pair<std::string, std::string>> given_;
};

}  // namespace matrix_sync
