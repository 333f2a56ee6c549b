// The schema of the database, brought up to date by whoever connects first.
#pragma once

#include <stdexcept>

#include "matrix_sync/database.hpp"
#include "matrix_sync/task.hpp"

namespace matrix_sync {

/// This database cannot be used before the operator has done something; what() says what.
class SchemaRefused : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Applies the migrations that the database lacks, all of them or none, once however many call this together. Costs two small queries when
/// there are none. Throws SchemaRefused, DatabaseUnavailable, StatementFailed (55P03: another worker is at it for long; ask again).
Task<void> migrate(Database& database);

}  // namespace matrix_sync
