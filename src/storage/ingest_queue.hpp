// Deliveries that wait to be ingested. Those of several devices share a transaction; what fails is tried alone, and a room that PostgreSQL
// refuses is found and set aside, so that nobody waits for it (rule 3).
#pragma once

#include <coroutine>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "matrix_sync/database.hpp"
#include "storage/ingest.hpp"

namespace matrix_sync {

class IngestQueue {
  public:
    IngestQueue(Database& database, Loop& loop, std::function<void(std::string)> log)
        : database_(database), loop_(loop), log_(std::move(log)) {}

    /// Destroying the task takes the delivery back, unless it is being carried out.
    Task<LogStore::Ingested> ingest(Delivery delivery);

  private:
    /// A delivery and who waits for it.
    struct Waiting {
        Delivery delivery;
        std::size_t bytes = 0;
        bool done = false;
        bool given_up = false;
        LogStore::Ingested result;
        std::exception_ptr error;
        std::coroutine_handle<> waiter;
    };
    using Group = std::vector<std::shared_ptr<Waiting>>;

    class Done;

    Task<void> work();
    Group next_group();
    Task<void> carry_out(Group group);
    /// One transaction. Throws what it throws.
    Task<void> together(Group group);
    /// Never throws: the error is the delivery's.
    Task<void> alone(std::shared_ptr<Waiting> waiting);
    Task<void> without_refused(std::shared_ptr<Waiting> waiting);
    Task<void> refused_among(Delivery& delivery, std::size_t begin, std::size_t end);
    Task<std::string> probe(Delivery& delivery, std::size_t begin, std::size_t end);

    Database& database_;
    Loop& loop_;
    std::function<void(std::string)> log_;
    std::deque<std::shared_ptr<Waiting>> waiting_;
    Job job_;
};

}  // namespace matrix_sync
