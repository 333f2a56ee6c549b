#include "nginx/homeserver.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <vector>

#include "matrix_sync/error.hpp"
#include "nginx/callback.hpp"
#include "nginx/poll_request.hpp"

namespace matrix_sync {

namespace {

constexpr ngx_uint_t connections_of_poll = 2;  // ours, which leads nowhere, and the upstream's
constexpr ngx_uint_t share_of_nginx = 16;      // when so few are left, nginx begins to close idle connections
constexpr std::size_t most_unread = 64 * 1024;

/// Bytes are copied out of nginx's buffers, so that they outlive a request that ends meanwhile. What does not fit stays in nginx's buffers,
/// and nginx stops reading.
class PollExchange final : public Exchange, private PollEvents {
  public:
    PollExchange(Loop& loop, ConnectionBudget& budget, const PollLocation& poll) : budget_(budget), poll_(poll), changed_(loop) {}
    PollExchange(const PollExchange&) = delete;
    PollExchange& operator=(const PollExchange&) = delete;
    ~PollExchange() override {
        if (starting_.pending()) --budget_.starting;
        if (r_) abort_poll_request(r_);
    }

    bool make(Loop& loop, const Call& call) {
        r_ = make_poll_request(poll_, call, *this);
        if (!r_) return false;
        ++budget_.starting;
        loop.post(starting_);  // nginx is not called from within what asks for a poll
        return true;
    }

    Task<Head> head() override {
        while (!head_ && r_) co_await changed_.wait();
        if (!head_) throw HomeserverUnavailable("no answer from the homeserver");
        co_return *head_;
    }

    Task<std::string_view> read() override {
        while (unread_.empty()) {
            if (!kept_.empty()) {
                take_kept();
                continue;
            }
            if (whole_) co_return std::string_view{};
            if (!r_) throw HomeserverUnavailable("the homeserver's answer was cut off");
            co_await changed_.wait();
        }
        std::swap(reading_, unread_);
        unread_.clear();
        if (!kept_.empty()) take_kept();
        co_return std::string_view(reading_);
    }

  private:
    void start() {
        --budget_.starting;
        start_poll_request(r_, poll_);
    }

    void take_kept() {
        for (ngx_buf_t* buffer : std::exchange(kept_, {})) take(buffer);
        resume_poll_request(r_);
    }
    void take(ngx_buf_t* buffer) {
        unread_.append(reinterpret_cast<const char*>(buffer->pos), static_cast<std::size_t>(buffer->last - buffer->pos));
        buffer->pos = buffer->last;
    }

    void head(int status, bool from_homeserver) override {
        head_ = Head{.status = status, .from_homeserver = from_homeserver};
        changed_.notify();
    }
    void body(ngx_buf_t* buffer) override {
        if (!head_ || !head_->from_homeserver) {
            buffer->pos = buffer->last;  // nginx's own page
        } else if (kept_.empty() && unread_.size() < most_unread) {
            take(buffer);
        } else {
            kept_.push_back(buffer);
        }
        changed_.notify();
    }
    void whole() override {
        // Where nginx buffers, its buffers do not outlive the end.
        for (ngx_buf_t* buffer : std::exchange(kept_, {})) take(buffer);
        whole_ = true;
        changed_.notify();
    }
    void ended() override {
        r_ = nullptr;
        kept_.clear();
        changed_.notify();
    }

    ConnectionBudget& budget_;
    const PollLocation& poll_;
    ngx_http_request_t* r_ = nullptr;
    Signal changed_;
    std::optional<Head> head_;
    bool whole_ = false;
    std::string reading_;
    std::string unread_;
    std::vector<ngx_buf_t*> kept_;
    Callback starting_{[this] { start(); }};
};

}  // namespace

ConnectionBudget ConnectionBudget::of_this_worker() {
    ConnectionBudget budget{.total = ngx_cycle->connection_n};
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        budget.total = std::min(budget.total, static_cast<ngx_uint_t>(limit.rlim_cur));
    }
    return budget;
}

ngx_uint_t ConnectionBudget::in_use() const {
    return ngx_cycle->connection_n - ngx_cycle->free_connection_n;
}

bool ConnectionBudget::has_room_for_poll(bool goes_on) const {
    return in_use() + starting + connections_of_poll <= total - total / (goes_on ? share_of_nginx : 3);
}

bool ConnectionBudget::has_room_to_wait() const {
    return in_use() <= total - total / 8;
}

std::unique_ptr<Exchange> NginxHomeserver::get(const Call& call) {
    if (!budget_.has_room_for_poll(call.goes_on)) return nullptr;
    auto exchange = std::make_unique<PollExchange>(loop_, budget_, poll_);
    if (!exchange->make(loop_, call)) return nullptr;
    return exchange;
}

}  // namespace matrix_sync
