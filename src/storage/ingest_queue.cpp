#include "storage/ingest_queue.hpp"

#include <algorithm>
#include <set>

#include "matrix_sync/error.hpp"

namespace matrix_sync {
namespace {

constexpr std::size_t most_deliveries = 64;
constexpr std::size_t most_bytes = 4 * 1024 * 1024;
constexpr int most_deadlocks = 5;

std::size_t bytes_of(const LogStore::Piece& piece) {
    std::size_t bytes = 0;
    for (const RoomPart& part : piece.rooms) bytes += part.raw.size();
    if (!piece.rest) return bytes;
    for (const std::string& body : piece.rest->to_device) bytes += body.size();
    for (const AnswerRest::AccountData& event : piece.rest->account_data) bytes += event.body.size();
    return bytes;
}

/// Another transaction was in the way: deadlock, serialization failure.
bool in_the_way(const StatementFailed& failure) {
    return failure.sqlstate.starts_with("40");
}

}  // namespace

/// Waits until a delivery is done.
class IngestQueue::Done {
  public:
    explicit Done(std::shared_ptr<Waiting> waiting) : waiting_(std::move(waiting)) {}
    Done(const Done&) = delete;
    Done& operator=(const Done&) = delete;
    ~Done() {
        waiting_->waiter = {};
        waiting_->given_up = true;
    }

    bool await_ready() const { return waiting_->done; }
    void await_suspend(std::coroutine_handle<> waiter) { waiting_->waiter = waiter; }
    void await_resume() {}

  private:
    std::shared_ptr<Waiting> waiting_;
};

Task<LogStore::Ingested> IngestQueue::ingest(Delivery delivery) {
    auto waiting = std::make_shared<Waiting>();
    waiting->delivery = std::move(delivery);
    waiting->bytes = bytes_of(waiting->delivery.piece);
    waiting_.push_back(waiting);
    Done done(waiting);
    if (!job_.running()) job_.start(work());
    co_await done;
    if (waiting->error) std::rethrow_exception(waiting->error);
    co_return std::move(waiting->result);
}

Task<void> IngestQueue::work() {
    while (!waiting_.empty()) {
        // Answers to several devices come together.
        co_await loop_pause(loop_);
        Group group = next_group();
        if (group.empty()) continue;
        co_await carry_out(group);
        for (const auto& waiting : group) {
            waiting->done = true;
            if (auto waiter = std::exchange(waiting->waiter, {})) waiter.resume();
        }
    }
}

/// One for each device at most, in order.
IngestQueue::Group IngestQueue::next_group() {
    std::erase_if(waiting_, [](const auto& waiting) { return waiting->given_up; });
    Group group;
    std::set<DeviceKey> devices;
    std::size_t bytes = 0;
    for (auto at = waiting_.begin(); at != waiting_.end() && group.size() < most_deliveries;) {
        if (!group.empty() && bytes + (*at)->bytes > most_bytes) break;
        if (!devices.insert((*at)->delivery.piece.lease.device).second) {
            ++at;
            continue;
        }
        bytes += (*at)->bytes;
        group.push_back(std::move(*at));
        at = waiting_.erase(at);
    }
    return group;
}

Task<void> IngestQueue::carry_out(Group group) {
    std::exception_ptr error;
    bool refused = false;
    try {
        co_await together(group);
    } catch (const DatabaseUnavailable&) {
        // One that takes too long must not keep the others from being stored.
        error = std::current_exception();
        refused = group.size() > 1;
    } catch (...) {
        refused = true;
    }
    for (const auto& waiting : group) {
        if (refused) {
            co_await alone(waiting);
        } else {
            waiting->error = error;
        }
    }
}

Task<void> IngestQueue::together(Group group) {
    std::vector<const Delivery*> deliveries;
    for (const auto& waiting : group) deliveries.push_back(&waiting->delivery);
    auto transaction = co_await database_.begin();
    Ingestion ingestion(*transaction, loop_, std::move(deliveries));
    co_await ingestion.carry_out();
    co_await ingestion.commit();
    for (const std::string& line : ingestion.lines()) log_(line);
    for (std::size_t i = 0; i < group.size(); ++i) group[i]->result = std::move(ingestion.results()[i]);
}

Task<void> IngestQueue::alone(std::shared_ptr<Waiting> waiting) {
    for (int deadlocks = 0;; ++deadlocks) {
        bool again = false;
        bool data = false;
        try {
            Group group;
            group.push_back(waiting);
            co_await together(std::move(group));
        } catch (const StatementFailed& failure) {
            waiting->error = std::current_exception();
            again = in_the_way(failure) && deadlocks < most_deadlocks;
            data = failure.blames_data();
        } catch (...) {
            waiting->error = std::current_exception();
        }
        if (data) co_await without_refused(waiting);
        if (!again) co_return;
        waiting->error = nullptr;
    }
}

/// The delivery has failed by what is in it.
Task<void> IngestQueue::without_refused(std::shared_ptr<Waiting> waiting) {
    Delivery& delivery = waiting->delivery;
    try {
        if (delivery.retry) {
            log_("room " + delivery.retry->room.value + " stays set aside: PostgreSQL refuses it");
            waiting->error = nullptr;
            co_return;
        }
        delivery.refused.assign(delivery.piece.rooms.size(), "");
        const std::string without_rooms = co_await probe(delivery, 0, 0);
        if (!without_rooms.empty()) co_return;
        co_await refused_among(delivery, 0, delivery.piece.rooms.size());
        Group group;
        group.push_back(waiting);
        co_await together(std::move(group));
        waiting->error = nullptr;
    } catch (...) {
        waiting->error = std::current_exception();
    }
}

/// Marks the rooms in [begin, end) that cannot be stored.
Task<void> IngestQueue::refused_among(Delivery& delivery, std::size_t begin, std::size_t end) {
    if (begin == end) co_return;
    std::string why = co_await probe(delivery, begin, end);
    if (why.empty()) co_return;
    if (end - begin == 1) {
        const RoomPart& part = delivery.piece.rooms[begin];
        if (begins_anew(part, !delivery.piece.from)) {
            delivery.without_aside.insert(part.room);
            std::string still = co_await probe(delivery, begin, end);
            if (still.empty()) co_return;
        }
        delivery.refused[begin] = std::move(why);
        co_return;
    }
    const std::size_t middle = begin + (end - begin) / 2;
    co_await refused_among(delivery, begin, middle);
    co_await refused_among(delivery, middle, end);
}

/// Why the rooms in [begin, end), and the rest, cannot be stored; empty when they can. Stores nothing.
Task<std::string> IngestQueue::probe(Delivery& delivery, std::size_t begin, std::size_t end) {
    delivery.left_out.assign(delivery.piece.rooms.size(), true);
    std::fill(delivery.left_out.begin() + static_cast<std::ptrdiff_t>(begin), delivery.left_out.begin() + static_cast<std::ptrdiff_t>(end),
              false);
    std::string why;
    try {
        auto transaction = co_await database_.begin();
        Ingestion ingestion(*transaction, loop_, {&delivery});
        co_await ingestion.carry_out();
        co_await ingestion.settled();
    } catch (const StatementFailed& failure) {
        if (!failure.blames_data()) throw;
        why = "PostgreSQL refuses it with SQLSTATE " + failure.sqlstate;
    }
    delivery.left_out.clear();
    co_return why;
}

}  // namespace matrix_sync
