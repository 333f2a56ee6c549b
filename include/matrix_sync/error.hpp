// What can go wrong, by who has to be told.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "matrix_sync/loop.hpp"

namespace matrix_sync {

/// An answer to the client that is no success: client-server specification, "Standard error response". what() is for the log.
class MatrixError : public std::runtime_error {
  public:
    MatrixError(int status_code, std::string errcode_text, const std::string& error)
        : std::runtime_error(error), status(status_code), errcode(std::move(errcode_text)) {}

    int status;
    std::string errcode;
    std::optional<Milliseconds> retry_after;
    std::optional<bool> soft_logout;
};

/// The database could not be asked (connection lost, time-out, too many connections): nothing is known of what was under way.
class DatabaseUnavailable : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The database refused a statement. The transaction it belonged to has changed nothing.
class StatementFailed : public std::runtime_error {
  public:
    StatementFailed(std::string code, const std::string& message) : std::runtime_error(message), sqlstate(std::move(code)) {}

    /// It is of a class that speaks of what was to be stored: data exceptions, broken constraints, program limits, and rows that are
    /// damaged. Others speak of the database's condition, and come again with anything else.
    bool blames_data() const {
        const std::string_view of = std::string_view(sqlstate).substr(0, 2);
        return of == "22" || of == "23" || of == "54" || of == "XX";
    }

    std::string sqlstate;
};

/// The homeserver could not be reached, or its answer ended before it was whole.
class HomeserverUnavailable : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The homeserver's answer is not what the specification says it is; nothing of it counts.
class HomeserverNonsense : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace matrix_sync
