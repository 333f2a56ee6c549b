// How much memory a worker keeps of what it could read again, over all kinds of it. What has not been used for longest goes first.
#pragma once

#include <cstddef>

#include "matrix_sync/loop.hpp"

namespace matrix_sync {

class CacheBudget {
  public:
    /// Something that is kept.
    class Spender : private Link {
      public:
        explicit Spender(CacheBudget& budget) : budget_(budget) {}
        virtual ~Spender() { count(0); }

      protected:
        /// It has just been used, and takes so many bytes: others go for it if they must, it does not.
        void use(std::size_t bytes);
        /// It takes so many bytes now.
        void count(std::size_t bytes);

      private:
        friend class CacheBudget;
        /// Gives up what it can do without, and counts what is left; may destroy it. It is not asked again before it has been used.
        virtual void drop() = 0;

        CacheBudget& budget_;
        std::size_t bytes_ = 0;
    };

    /// In bytes, as those who spend it count them. What was used last stays, however large it is.
    explicit CacheBudget(std::size_t most) : most_(most) {}

    std::size_t bytes() const { return bytes_; }

  private:
    std::size_t most_;
    std::size_t bytes_ = 0;
    Link spenders_;  ///< the last used last
};

}  // namespace matrix_sync
