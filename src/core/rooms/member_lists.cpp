#include "core/rooms/member_lists.hpp"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "core/rooms/member_request.hpp"

namespace matrix_sync {

namespace {

constexpr int kPage = 1000;
/// A list that has changed more than this is loaded anew: changes are laid over it in one go.
constexpr std::size_t kMostChanges = 10'000;
/// What comes in while a list is fetched may put it in doubt again.
constexpr int kMostRequests = 3;

}  // namespace

struct MemberLists::Kept : CacheBudget::Spender {
    using CacheBudget::Spender::Spender;

    std::shared_ptr<MemberList> list;
    std::shared_ptr<Look> running;
    std::shared_ptr<Look> next;  ///< it begins when the running one has ended

    void use_list() {
        if (list) use(kMemberBytes * (list->size() + 1));
    }
    /// Whoever holds a list that goes keeps it.
    void drop() override {
        list.reset();
        count(0);
    }
    bool busy() const { return next || (running && !running->ended()); }
};

MemberLists::~MemberLists() {
    clear();
}

void MemberLists::clear() {
    for (auto& [room, kept] : rooms_) {
        if (kept->next) kept->next->give_up();
        if (kept->running) kept->running->give_up();
    }
    rooms_.clear();
}

Task<MemberLists::ListPtr> MemberLists::look(RoomKey room, RoomId id, const Credential& credential) {
    for (;;) {
        std::shared_ptr<Kept>& kept = rooms_[room];
        if (!kept) kept = std::make_shared<Kept>(budget_);
        Joined joined = join(room, kept, id, credential);
        try {
            ListPtr list = co_await Look::result(joined.look);
            forget();
            if (list || joined.own) co_return list;
        } catch (const MatrixError& error) {
            if (joined.own || error.status == 502) throw;
        }
        // The homeserver refused somebody else.
    }
}

/// What is under way may have read what the caller knows to be old: all who come meanwhile share the one behind it.
MemberLists::Joined MemberLists::join(RoomKey room, const std::shared_ptr<Kept>& kept, const RoomId& id, const Credential& credential) {
    if (kept->next) return {kept->next, false};
    auto look = std::make_shared<Look>(loop_);
    if (kept->busy()) {
        kept->next = look;
        look->start(look_behind(room, kept, id, std::make_unique<Credential>(credential)));
    } else {
        kept->running = look;
        look->start(bring_up(room, kept, id, std::make_unique<Credential>(credential)));
    }
    return {look, true};
}

Task<MemberLists::ListPtr> MemberLists::look_behind(RoomKey room, std::shared_ptr<Kept> kept, RoomId id,
                                                    std::unique_ptr<Credential> credential) {
    try {
        std::shared_ptr<Look> before = kept->running;
        co_await Look::result(before);
    } catch (const std::exception&) {
        // Who awaits it knows.
    }
    kept->running = std::exchange(kept->next, nullptr);
    co_return co_await bring_up(room, std::move(kept), std::move(id), std::move(credential));
}

Task<MemberLists::ListPtr> MemberLists::bring_up(RoomKey room, std::shared_ptr<Kept> kept, RoomId id,
                                                 std::unique_ptr<Credential> credential) {
    MemberListEnd end = co_await update(room, kept);
    for (int requests = 0; !end.complete && requests < kMostRequests; ++requests) {
        const std::int64_t before = end.version;
        std::exception_ptr failure;
        bool told = false;
        try {
            told = co_await request_members(loop_, store_, room, id, *credential, end.now);
        } catch (const std::exception&) {
            failure = std::current_exception();
        }
        try {
            end = co_await update(room, kept);
        } catch (const std::exception&) {
            fetched_(room);  // nobody knows what was stored
            throw;
        }
        // Also what came before it broke off.
        if (end.version != before) fetched_(room);
        if (failure) std::rethrow_exception(failure);
        if (!told) co_return nullptr;
    }
    if (!kept->list) co_await load(room, kept);
    ListPtr list = kept->list;
    kept->use_list();
    co_return list;
}

/// All changes are laid over the list at once: in between it would be a list that there never was.
Task<MemberListEnd> MemberLists::update(RoomKey room, std::shared_ptr<Kept> kept) {
    MemberListEnd end;
    if (!kept->list) {
        end = co_await store_.member_list(room);
        co_return end;
    }
    std::vector<MemberChanges> changes;
    std::size_t rows = 0;
    std::int64_t at = kept->list->version();
    for (bool more = true; more;) {
        MemberChanges page = co_await store_.member_changes(room, at);
        end = page.end;
        more = page.more;
        at = end.version;
        rows += page.rows.size() + page.gone.size();
        if (rows > kMostChanges) {
            kept->list.reset();
            end = co_await store_.member_list(room);
            co_return end;
        }
        changes.push_back(std::move(page));
    }
    // It may have been dropped meanwhile, to make room.
    if (!kept->list) co_return end;
    for (const MemberChanges& page : changes) kept->list->apply(page);
    co_return end;
}

Task<void> MemberLists::load(RoomKey room, std::shared_ptr<Kept> kept) {
    const MemberListEnd end = co_await store_.member_list(room);
    auto list = std::make_shared<MemberList>();
    for (int number = 1; number <= kMemberships; ++number) {
        const Memberships membership = {Membership{static_cast<std::int16_t>(number)}};
        MemberStart last;
        for (std::size_t got = kPage; got == kPage;) {
            std::vector<std::string> nobody;
            MembersAt page = co_await store_.members_at(room, end.version, membership, last, kPage, std::move(nobody));
            for (const Member& member : page.next) list->put(member);
            got = page.next.size();
            if (got > 0) last = {page.next.back().user.value, page.next.back().sort_name};
            co_await loop_pause(loop_);
        }
    }
    list->set_version(end.version);
    kept->list = std::move(list);
}

std::size_t MemberLists::kept() const {
    std::size_t members = 0;
    for (const auto& [room, kept] : rooms_) members += kept->list ? kept->list->size() : 0;
    return members;
}

std::size_t MemberLists::rooms() const {
    return static_cast<std::size_t>(std::ranges::count_if(rooms_, [](const auto& item) { return item.second->list != nullptr; }));
}

/// What has ended without a list to keep, and what has been dropped.
void MemberLists::forget() {
    std::erase_if(rooms_, [](const auto& item) { return !item.second->list && !item.second->busy(); });
}

}  // namespace matrix_sync
