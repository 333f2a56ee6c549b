#include "core/classic/answer.hpp"
#include "matrix_sync/store.hpp"

namespace matrix_sync {

LogStore::Piece::Piece() = default;
LogStore::Piece::Piece(Piece&&) noexcept = default;
LogStore::Piece& LogStore::Piece::operator=(Piece&&) noexcept = default;
LogStore::Piece::~Piece() = default;

}  // namespace matrix_sync
