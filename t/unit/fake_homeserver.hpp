// A Homeserver that gives prepared answers, a few bytes at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "matrix_sync/error.hpp"
#include "matrix_sync/homeserver.hpp"

namespace matrix_sync {

class FakeHomeserver : public Homeserver {
  public:
    struct Answer {
        int status = 200;
        std::string body;
        bool cut_off = false;
        bool from_homeserver = true;
    };
    std::map<std::string, Answer> answers;  ///< by target; 404 for any other
    std::vector<Call> calls;
    std::size_t at_once = 1000;        ///< bytes of one read
    bool full = false;                 ///< no connections to spare
    std::function<void()> when_asked;  ///< what happens while the homeserver thinks

    std::unique_ptr<Exchange> get(const Call& call) override {
        if (full) return nullptr;
        calls.push_back(call);
        auto answer = answers.find(call.target);
        Answer given = answer == answers.end() ? Answer{404, R"({"errcode":"M_NOT_FOUND"})"} : answer->second;
        return std::make_unique<Answering>(*this, std::move(given));
    }

  private:
    class Answering : public Exchange {
      public:
        Answering(FakeHomeserver& homeserver, Answer answer) : homeserver_(homeserver), answer_(std::move(answer)) {}

        Task<Head> head() override {
            if (homeserver_.when_asked) homeserver_.when_asked();
            co_return Head{answer_.status, answer_.from_homeserver};
        }
        Task<std::string_view> read() override {
            if (answer_.cut_off && at_ > 0) throw HomeserverUnavailable("cut off");
            const std::string_view some = std::string_view(answer_.body).substr(at_, homeserver_.at_once);
            at_ += some.size();
            co_return some;
        }

      private:
        FakeHomeserver& homeserver_;
        Answer answer_;
        std::size_t at_ = 0;
    };
};

}  // namespace matrix_sync
