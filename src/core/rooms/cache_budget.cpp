#include "core/rooms/cache_budget.hpp"

namespace matrix_sync {

void CacheBudget::Spender::use(std::size_t bytes) {
    insert_before(budget_.spenders_);
    count(bytes);
    while (budget_.bytes_ > budget_.most_ && &budget_.spenders_.next() != this) {
        Spender& oldest = static_cast<Spender&>(budget_.spenders_.next());
        oldest.unlink();
        oldest.drop();
    }
}

void CacheBudget::Spender::count(std::size_t bytes) {
    budget_.bytes_ += bytes - bytes_;
    bytes_ = bytes;
}

}  // namespace matrix_sync
