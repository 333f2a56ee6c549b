// How many access tokens a worker remembers, and which of them go.
#include "core/devices/access.hpp"
#include "fake_homeserver.hpp"
#include "log_storage.hpp"
// Last, because of Check's macros.
#include "suite.hpp"

using namespace matrix_sync;

namespace {

const std::string whoami = "/_matrix/client/v3/account/whoami";
constexpr int at_most = 200'000;  // the bound lies below

/// Tokens as a database that answers at once would have them: none, or all of one device.
struct Tokens : TokenStore {
    std::optional<DeviceRow> owner;

    Task<std::optional<Known>> token(const std::string& /*access_token*/) override {
        co_return owner ? std::optional(Known{*owner, Milliseconds{0}}) : std::nullopt;
    }
    Task<void> remember_token(const std::string& /*access_token*/, DeviceKey /*device*/) override { co_return; }
    Task<void> forget_token(const std::string& /*access_token*/) override { co_return; }
};

struct World {
    World() { refuse(); }

    void refuse() { homeserver->answers[whoami] = {401, R"({"errcode":"M_UNKNOWN_TOKEN","error":"no"})"}; }
    void accept() { homeserver->answers[whoami] = {200, R"({"user_id":"@u:world","device_id":"A"})"}; }

    /// The status that a request with this token would be answered with.
    int status(const std::string& token) {
        try {
            complete(access.check(token, {}, homeserver), [&] { storage.loop.settle(); });
            return 200;
        } catch (const MatrixError& error) {
            return error.status;
        }
    }
    std::size_t asked() const { return homeserver->calls.size(); }
    static std::string stranger(int i) { return "stranger" + std::to_string(i); }

    Storage storage;
    Tokens tokens;
    std::shared_ptr<FakeHomeserver> homeserver = std::make_shared<FakeHomeserver>();
    Access access{storage.loop, storage.logs, tokens};
};

}  // namespace

START_TEST(refused_tokens_are_forgotten_when_there_are_too_many) {
    World world;
    world.accept();
    ck_assert_int_eq(world.status("known"), 200);
    world.refuse();
    int count = 0;
    while (count < at_most && (count == 0 || world.access.refusal(World::stranger(0)))) {
        ck_assert_int_eq(world.status(World::stranger(count)), 401);
        ++count;
    }
    ck_assert_int_eq(count, 100'000);  // the last was one more than fits beside the known one
    for (int i : {1, count / 2, count - 2}) ck_assert(!world.access.refusal(World::stranger(i)));
    ck_assert(world.access.refusal(World::stranger(count - 1)));
    const std::size_t asked = world.asked();
    ck_assert_int_eq(world.status("known"), 200);
    ck_assert_uint_eq(world.asked(), asked);
    ck_assert_int_eq(world.status(World::stranger(0)), 401);
    ck_assert_uint_eq(world.asked(), asked + 1);
}
END_TEST

START_TEST(whom_there_is_no_room_to_remember_is_asked_to_come_again) {
    World world;
    world.tokens.owner = complete(world.storage.logs.device(UserId{"@u:world"}, DeviceId{"A"}));
    int count = 0;
    int status = 0;
    while (count < at_most && (status = world.status("token" + std::to_string(count))) == 200) ++count;
    ck_assert_int_eq(count, 100'000);
    ck_assert_int_eq(status, 429);
    ck_assert_int_eq(world.status("token0"), 200);
    ck_assert_int_eq(world.status("token" + std::to_string(count - 1)), 200);
    ck_assert_uint_eq(world.asked(), 0);
    // What nobody uses makes room in time.
    world.storage.loop.freeze(std::chrono::hours(1));
    world.access.forget();
    ck_assert_int_eq(world.status("one more"), 200);
}
END_TEST

MATRIX_SYNC_SUITE("access", refused_tokens_are_forgotten_when_there_are_too_many, whom_there_is_no_room_to_remember_is_asked_to_come_again)
