// The device log on a real PostgreSQL: it reads back what the model reads back, devices share what they may share, and what goes wrong for
// one goes wrong for nobody else.
#include <chrono>
#include <deque>
#include <thread>

#include "blocking_database.hpp"
#include "core/classic/parser.hpp"
#include "fake_loop.hpp"
#include "postgres.hpp"
#include "storage/log_reader.hpp"
#include "storage/logs.hpp"
#include "storage/schema.hpp"
#include "watched_database.hpp"
// Last, because of check.h.
#include "assert_text.hpp"
#include "log_model.hpp"
#include "suite.hpp"

using namespace matrix_sync;

namespace {

/// A database with its logs.
struct Storage {
    explicit Storage(std::string conninfo = postgres().fresh_database()) : database(conninfo), watched(database) {
        complete(migrate(database));
        database.execute(
            "INSERT INTO worker (name, alive_until) VALUES ('one', now() + interval '1 hour'), ('two', now() + interval '1 hour')");
    }

    Lease device(const std::string& device, const std::string& user = "@u:world", WorkerKey worker = WorkerKey{1}) {
        DeviceRow row = complete(logs.device(UserId{user}, DeviceId{device}));
        return claim(row.key, worker);
    }
    Lease claim(DeviceKey device, WorkerKey worker = WorkerKey{1}) {
        auto claimed = complete(logs.claim(device, worker));
        ck_assert_msg(claimed.lease.has_value(), "the log is not to be had");
        return *claimed.lease;
    }

    std::optional<RoomKey> room(const std::string& id) { return complete(reader.room(RoomId{id})); }
    std::vector<Entry> entries(DeviceKey device, const std::string& room_id, Position from = {}, Position to = Position{INT64_MAX}) {
        auto key = room(room_id);
        if (!key) return {};
        return complete(reader.entries(device, *key, from, to));
    }
    std::string event_ids(const std::vector<EventRef>& refs) {
        std::string ids;
        for (const StoredEvent& event : complete(reader.events(refs))) ids += (ids.empty() ? "" : " ") + event.event_id.value;
        return ids;
    }
    /// "section events" of each entry of a room, a gap marked by `|`.
    std::string told(DeviceKey device, const std::string& room_id) {
        std::string text;
        for (const Entry& entry : entries(device, room_id)) {
            text += (text.empty() ? "" : "; ") + std::string(entry.gap ? "|" : "") + std::to_string(static_cast<int>(entry.section)) + ":" +
                    event_ids(entry.events);
        }
        return text;
    }
    std::string body(const std::string& event_id) {
        return database.value("SELECT convert_from(body, 'UTF8') FROM event WHERE event_id = '" + event_id + "'");
    }
    std::string count(const std::string& from) { return database.value("SELECT count(*) FROM " + from); }

    BlockingDatabase database;
    WatchedDatabase watched;
    std::vector<std::string> lines;
    PostgresLogs logs{watched, [this](const std::string& line) { lines.push_back(line); }};
    LogReader reader{watched};
};

Event event(const std::string& id, const std::string& type = "m.room.message", std::optional<std::string> state_key = std::nullopt) {
    Event event;
    event.event_id = EventId{id};
    event.type = type;
    event.state_key = std::move(state_key);
    event.sender = UserId{"@x:world"};
    event.body = R"({"type":")" + type + R"(","event_id":")" + id + R"(","content":{"body":"text of )" + id + R"("}})";
    return event;
}

Event create(const std::string& room) {
    Event create = event("$create" + room, "m.room.create", "");
    create.room_version = "10";
    return create;
}

Event redaction(const std::string& id, const std::string& target) {
    Event redaction = event(id, "m.room.redaction");
    redaction.redacts = EventId{target};
    return redaction;
}

/// `{"event_id": …, …}` as the parser reads it again.
std::string raw_of(const RoomPart& part) {
    auto text_of = [](const Event& event) {
        std::string state_key = event.state_key ? R"(,"state_key":")" + *event.state_key + '"' : "";
        return R"({"event_id":")" + event.event_id.value + R"(","type":")" + event.type + '"' + state_key +
               R"(,"sender":"@x:world","content":{},"origin_server_ts":1})";
    };
    auto array_of = [&](const std::vector<Event>& events) {
        std::string text;
        for (const Event& event : events) text += (text.empty() ? "" : ",") + text_of(event);
        return "[" + text + "]";
    };
    return R"({"timeline":{"events":)" + array_of(part.timeline) + R"(,"limited":)" + (part.limited ? "true" : "false") +
           R"(},"state":{"events":)" + array_of(part.state) + "}}";
}

RoomPart part(const std::string& room, std::vector<Event> timeline, std::vector<Event> state = {}, Section section = Section::join) {
    RoomPart part;
    part.room = RoomId{room};
    part.section = section;
    part.timeline = std::move(timeline);
    part.state = std::move(state);
    part.prev_batch = "before";
    part.raw = raw_of(part);
    return part;
}

LogStore::Piece piece(Lease lease, std::optional<std::string> from, std::vector<RoomPart> rooms, std::optional<std::string> next = "next") {
    LogStore::Piece piece;
    piece.lease = lease;
    piece.from = std::move(from);
    piece.rooms = std::move(rooms);
    if (next) {
        piece.rest = std::make_unique<AnswerRest>();
        piece.rest->next_batch = *next;
    }
    return piece;
}

LogStore::Ingested ingest(Storage& storage, LogStore::Piece piece) {
    return complete(storage.logs.ingest(std::move(piece)));
}

std::vector<RoomPart> one(RoomPart part) {
    std::vector<RoomPart> parts;
    parts.push_back(std::move(part));
    return parts;
}

bool same_entry(const Entry& a, const Entry& b) {
    return a.seq == b.seq && a.room_key == b.room_key && a.room == b.room && a.section == b.section && a.events == b.events &&
           a.transaction_ids == b.transaction_ids && a.gap == b.gap && a.limited == b.limited && a.prev_batch == b.prev_batch &&
           a.next_batch == b.next_batch && a.state == b.state && a.typing == b.typing;
}

/// What a reader of the log gets is what the ingest said it added.
void assert_read_back(Storage& storage, DeviceKey device, const News& news) {
    News read = complete(storage.logs.news(device, news.from));
    ck_assert(read.to == news.to);
    ck_assert_uint_eq(read.entries.size(), news.entries.size());
    for (std::size_t i = 0; i < read.entries.size(); ++i) ck_assert(same_entry(read.entries[i], news.entries[i]));
    ck_assert_uint_eq(read.to_device.size(), news.to_device.size());
    ck_assert_uint_eq(read.account_data.size(), news.account_data.size());
    ck_assert_uint_eq(read.device_lists.size(), news.device_lists.size());
    ck_assert(read.key_counts.has_value() == news.key_counts.has_value());
    ck_assert(read.whole == news.whole);
}

// The model and the storage side by side.

class SideBySide {
  public:
    SideBySide(Storage& storage, std::uint64_t seed, const world::Options& options)
        : storage_(storage), chance_(seed), world_(chance_, options), name_(std::to_string(seed) + "-" + std::to_string(++trials_)) {
        for (int i = 0; i < options.devices; ++i) {
            world::Viewer viewer{chance_.one_of(world_.users()), chance_.one_of<std::size_t>({1, 3, 5, 20}),
                                 chance_.one_of<std::size_t>({1, 2, 4, 8, 50}), chance_.of(.6)};
            sides_.emplace_back(std::move(viewer), storage.device("D" + name_ + std::to_string(i)), right_);
        }
    }

    std::uint64_t run(int steps) {
        for (int step = 0; step < steps; ++step) {
            if (chance_.of(.3)) {
                world_.grow();
            } else {
                poll(sides_[chance_.below(sides_.size())]);
            }
        }
        return polls_;
    }

  private:
    struct Side {
        Side(world::Viewer whose, Lease held, const world::Mutant& right) : viewer(std::move(whose)), lease(held), model(right) {}

        world::Viewer viewer;
        Lease lease;
        world::Log model;
        std::optional<std::int64_t> since;
        std::optional<std::pair<std::optional<world::Answer>, std::int64_t>> flying;
        bool repeated = false;
        Position model_token, token;
    };

    void poll(Side& side) {
        if (!side.flying) {
            if (side.since == world_.now() && !side.repeated) return;
            if (side.since && chance_.of(.03)) {
                side.since.reset();
                side.repeated = true;
            }
            side.flying.emplace(world_.poll(side.viewer, side.since, world_.now()), world_.now());
            return;
        }
        auto [answer, made] = *std::exchange(side.flying, std::nullopt);
        if (chance_.of(.1)) return;  // lost
        if (!answer) {
            if (!side.since || side.repeated) return;
            ingest(storage_, piece(side.lease, token(side.since), {}, token(made)));
            side.model.acknowledge();
            side.since = made;
            return;
        }
        ++polls_;
        const bool acknowledged = chance_.of(.8);
        const bool at_once = acknowledged && chance_.of(.5);
        deliver(side, *answer, at_once);
        if (!at_once && chance_.of(.2)) deliver(side, *answer, false);
        if (acknowledged) {
            if (!at_once) ingest(storage_, piece(side.lease, token(side.since), {}, token(made)));
            side.model.acknowledge();
            side.since = made;
        } else {
            side.lease = storage_.claim(side.lease.device);  // the worker has crashed
        }
        side.repeated = !acknowledged;
    }

    void deliver(Side& side, const world::Answer& answer, bool with_end) {
        side.model.ingest(answer, with_end);
        auto ingested = ingest(storage_, piece(side.lease, token(side.since), one(part_of(answer)),
                                               with_end ? token(answer.now) : std::optional<std::string>()));
        ck_assert(!ingested.lease_lost && ingested.without_state.empty());
        assert_read_back(storage_, side.lease.device, ingested.news);
        compare(side, ingested.news.to);
    }

    void compare(Side& side, Position end) {
        auto room = storage_.room(room_id());
        if (!room) {
            ck_assert(side.model.empty());
            return;
        }
        const DeviceKey device = side.lease.device;
        const Delta expected = side.model.read(side.model_token, side.model.end());
        const auto before = complete(storage_.reader.newest(device, *room, side.token));
        const auto entries = complete(storage_.reader.entries(device, *room, side.token, end));
        const Delta got = read_delta(entries, before ? std::optional(before->section) : std::nullopt);
        same(expected.timeline, got.timeline);
        ck_assert(expected.initial == got.initial);
        side.model_token = side.model.end();
        side.token = end;

        const std::size_t most = chance_.one_of<std::size_t>({0, 1, 2, 3, 5, 10, 100});
        same(side.model.last(most), read_last(complete(storage_.reader.last(device, *room, end, most)), most));

        const auto newest = complete(storage_.reader.newest(device, *room, end));
        const StateMap state = newest ? complete(storage_.reader.state(newest->state)) : StateMap{};
        StateMap numbered;
        for (const auto& [name, ref] : state) numbered[name] = numbers({ref}).front();
        ck_assert(numbered == side.model.state(side.model.end()));
    }

    void same(const Timeline& expected, const Timeline& got) {
        ck_assert(expected.events == numbers(got.events));
        ck_assert(expected.limited == got.limited);
        ck_assert(expected.prev_batch == got.prev_batch);
    }

    std::string room_id() const { return "!" + name_ + ":world"; }
    std::string event_id(EventRef ref) const { return "$" + name_ + "/" + std::to_string(ref.value); }
    static std::string token(std::int64_t position) { return "s" + std::to_string(position); }
    static std::optional<std::string> token(std::optional<std::int64_t> position) {
        return position ? std::optional(token(*position)) : std::nullopt;
    }

    /// The world's numbers of stored events.
    std::vector<EventRef> numbers(const std::vector<EventRef>& refs) {
        std::vector<EventRef> numbers;
        for (const StoredEvent& event : complete(storage_.reader.events(refs))) {
            numbers.push_back(EventRef{std::stoll(event.event_id.value.substr(event.event_id.value.find('/') + 1))});
        }
        return numbers;
    }

    Event event_of(EventRef ref, const std::optional<StateName>& name) const {
        return event(event_id(ref), name ? name->type : "m.room.message", name ? std::optional(name->key) : std::nullopt);
    }

    RoomPart part_of(const world::Answer& answer) const {
        RoomPart part;
        part.room = RoomId{room_id()};
        part.section = answer.section;
        part.limited = answer.limited;
        part.prev_batch = world::front(answer.prev_batch);
        part.state_is_after = answer.state_after;
        for (const world::TrueEvent& each : answer.timeline) part.timeline.push_back(event_of(each.ref, each.name));
        for (const auto& [name, ref] : answer.block) part.state.push_back(event_of(ref, name));
        return part;
    }

    static inline int trials_ = 0;
    Storage& storage_;
    world::Chance chance_;
    world::World world_;
    std::string name_;
    const world::Mutant right_;
    std::vector<Side> sides_;
    std::uint64_t polls_ = 0;
};

}  // namespace

START_TEST(storage_reads_back_what_the_model_reads_back) {
    Storage storage;
    std::uint64_t polls = 0;
    const std::uint64_t trials = world::runs(20);
    for (std::uint64_t trial = 0; trial < trials; ++trial) {
        world::Options options{.users = 3, .devices = 4, .ignore = true, .resets = true, .leave = true};
        options.reorder = trial % 2;
        options.shared_history = trial % 3;
        options.state_after = trial % 4 < 2;
        polls += SideBySide(storage, world::seed() + trial, options).run(60);
    }
    std::printf("%llu polls compared, %s state sets for %s entries\n", static_cast<unsigned long long>(polls),
                storage.count("room_state").c_str(), storage.count("log").c_str());
    ck_assert_uint_gt(polls, 5 * trials);
    assert_text(storage.count("set_aside"), "0");
    ck_assert(storage.lines.empty());
}
END_TEST

namespace {

/// A room's first part: everything in the block.
RoomPart first_part(const std::string& room, std::vector<Event> timeline) {
    return part(room, std::move(timeline), {create(room), event("$name" + room, "m.room.name", "")});
}

/// PostgreSQL refuses events of one type, as it would an index entry too large.
void refuse_poison(Storage& storage) {
    storage.database.execute(R"(
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE program_limit_exceeded; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.type = 'org.poison') EXECUTE FUNCTION refuse())");
}

/// An ingest that runs on its own.
struct Running {
    Running(Storage& storage, LogStore::Piece piece) { job.start(run(*this, storage, std::move(piece))); }

    static Task<void> run(Running& self, Storage& storage, LogStore::Piece piece) {
        try {
            self.result = co_await storage.logs.ingest(std::move(piece));
        } catch (...) {
            self.error = std::current_exception();
        }
    }

    std::optional<LogStore::Ingested> result;
    std::exception_ptr error;
    Job job;
};

}  // namespace

START_TEST(devices_share_events_and_states) {
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B", "@v:world");
    auto first = ingest(storage, piece(a, std::nullopt, one(first_part("!r:world", {event("$1"), event("$2")}))));
    auto second = ingest(storage, piece(b, std::nullopt, one(first_part("!r:world", {event("$2"), event("$3")}))));
    assert_text(storage.count("event"), "5");
    assert_text(storage.count("room_state"), "1");
    ck_assert(first.news.entries[0].state == second.news.entries[0].state);
    assert_text(storage.told(a.device, "!r:world"), "|1:$1 $2");
    assert_text(storage.told(b.device, "!r:world"), "|1:$2 $3");
    // A message copies the pointer.
    ingest(storage, piece(a, "next", one(part("!r:world", {event("$3")})), "after"));
    assert_text(storage.count("room_state"), "1");
    assert_text(storage.told(a.device, "!r:world"), "|1:$1 $2; 1:$3");
}
END_TEST

START_TEST(large_states_are_kept_as_differences) {
    Storage storage;
    Lease lease = storage.device("A");
    std::vector<Event> state{create("!r:world")};
    for (int i = 0; i < 100; ++i) state.push_back(event("$s" + std::to_string(i), "org.state", std::to_string(i)));
    ingest(storage, piece(lease, std::nullopt, one(part("!r:world", {}, state))));
    ingest(storage, piece(lease, "next", one(part("!r:world", {event("$t0", "org.state", "0")}))));
    ingest(storage, piece(lease, "next", one(part("!r:world", {event("$t1", "org.state", "1")}))));
    assert_text(storage.database.value("SELECT string_agg(coalesce(parent::text, '-') || ' ' || cardinality(refs) || ' ' || "
                                       "coalesce(cardinality(gone)::text, '-'), ', ' ORDER BY id) FROM room_state"),
                "- 101 -, 1 1 1, 1 2 2");
    StateMap read = complete(storage.reader.state(StateKey{3}));
    ck_assert_uint_eq(read.size(), 101);
    assert_text(storage.event_ids({read.at({"org.state", "0"}), read.at({"org.state", "1"}), read.at({"org.state", "2"})}), "$t0 $t1 $s2");
}
END_TEST

START_TEST(a_lost_lease_changes_nothing) {
    Storage storage;
    Lease lease = storage.device("A");
    Lease newer = storage.claim(lease.device);
    ck_assert(newer.epoch == lease.epoch + 1);
    auto lost = ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    ck_assert(lost.lease_lost && lost.news.entries.empty());
    for (const char* table : {"room", "event", "room_state", "log", "set_aside"}) assert_text(storage.count(table), "0");
    auto kept = ingest(storage, piece(newer, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    ck_assert(!kept.lease_lost && kept.news.to.generation() == newer.epoch);
}
END_TEST

START_TEST(an_owner_is_succeeded_when_it_is_dead_or_has_let_go) {
    Storage storage;
    Lease lease = storage.device("A");
    auto refused = complete(storage.logs.claim(lease.device, WorkerKey{2}));
    ck_assert(!refused.lease && refused.row.owner == WorkerKey{1});
    std::vector<Lease> leases{{lease.device, lease.epoch - 1}};
    complete(storage.logs.release(leases));
    ck_assert(!complete(storage.logs.claim(lease.device, WorkerKey{2})).lease);
    leases = {lease};
    complete(storage.logs.release(leases));
    ck_assert(ingest(storage, piece(lease, std::nullopt, {})).lease_lost);
    Lease second = storage.claim(lease.device, WorkerKey{2});
    storage.database.execute("UPDATE worker SET alive_until = now() - interval '1 s' WHERE id = 2");
    auto third = complete(storage.logs.claim(lease.device, WorkerKey{1}));
    ck_assert(third.lease && third.lease->epoch == second.epoch + 1);
    ck_assert(third.row.end.value == third.lease->epoch << 32);
}
END_TEST

START_TEST(a_database_belongs_to_one_homeserver) {
    Storage storage;
    storage.device("A", "@u:world:8448");
    try {
        complete(storage.logs.device(UserId{"@u:elsewhere"}, DeviceId{"B"}));
        ck_abort_msg("a user of another homeserver got in");
    } catch (const MatrixError& error) {
        ck_assert_int_eq(error.status, 403);
        assert_text(error.errcode, "M_FORBIDDEN");
    }
    ck_assert_uint_eq(storage.lines.size(), 1);
    ck_assert(storage.lines[0].find("matrix_sync_database") != std::string::npos);
    assert_text(storage.count("device"), "1");
    storage.device("B", "@v:world:8448");
}
END_TEST

START_TEST(pieces_that_wait_share_a_transaction) {
    Storage storage;
    std::vector<Lease> leases;
    for (int i = 0; i < 6; ++i) leases.push_back(storage.device("D" + std::to_string(i)));
    Lease lost = leases[3];
    storage.claim(lost.device);
    storage.watched.begun = 0;
    storage.watched.durable.clear();
    storage.watched.begins.closed = true;
    std::deque<Running> running;
    for (const Lease& lease : leases) {
        running.emplace_back(storage,
                             piece(lease, std::nullopt, one(first_part("!r:world", {event("$" + std::to_string(lease.device.value))}))));
    }
    // A second one of the same device has to wait for the first.
    running.emplace_back(storage, piece(leases[5], "next", one(part("!r:world", {event("$last")}))));
    storage.watched.begins.open();
    for (std::size_t i = 0; i < running.size(); ++i) {
        ck_assert(running[i].result && running[i].result->lease_lost == (i == 3));
        ck_assert_uint_eq(running[i].result->news.entries.size(), i == 3 ? 0 : 1);
    }
    ck_assert_int_eq(storage.watched.begun, 3);
    ck_assert_uint_eq(storage.watched.durable.size(), 3);
    assert_text(storage.told(leases[5].device, "!r:world"), "|1:$6; 1:$last");
}
END_TEST

START_TEST(an_abandoned_piece_harms_nobody) {
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    Lease c = storage.device("C");
    storage.watched.begins.closed = true;
    std::deque<Running> running;
    running.emplace_back(storage, piece(a, std::nullopt, one(first_part("!r:world", {event("$a")}))));
    running.emplace_back(storage, piece(b, std::nullopt, one(first_part("!r:world", {event("$b")}))));
    running.emplace_back(storage, piece(c, std::nullopt, one(first_part("!r:world", {event("$c")}))));
    running[0].job.cancel();  // under way: nobody hears of it
    running[1].job.cancel();  // waiting: taken back
    storage.watched.begins.open();
    ck_assert(running[2].result && !running[2].result->lease_lost);
    assert_text(storage.told(a.device, "!r:world"), "|1:$a");
    assert_text(storage.told(b.device, "!r:world"), "");
    assert_text(storage.told(c.device, "!r:world"), "|1:$c");
}
END_TEST

START_TEST(a_room_that_is_refused_is_set_aside_and_the_others_go_on) {  // rule 3
    Storage storage;
    refuse_poison(storage);
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    Lease c = storage.device("C");
    std::vector<RoomPart> rooms;
    for (int i = 0; i < 9; ++i) rooms.push_back(first_part("!" + std::to_string(i) + ":world", {event("$" + std::to_string(i))}));
    rooms[4] = first_part("!4:world", {event("$poison", "org.poison")});
    rooms[7].broken = "timeline: expected an object";
    auto bad = piece(a, std::nullopt, std::move(rooms));
    bad.rest->to_device.push_back(R"({"type":"m.key"})");
    storage.watched.begins.closed = true;
    const auto durable_before = std::ranges::count(storage.watched.durable, true);
    Running first(storage, piece(b, std::nullopt, one(first_part("!b:world", {event("$b")}))));
    Running second(storage, std::move(bad));
    Running third(storage, piece(c, std::nullopt, one(first_part("!c:world", {event("$c")}))));
    storage.watched.begins.open();
    ck_assert(first.result && second.result && third.result);
    ck_assert_uint_eq(second.result->news.entries.size(), 7);
    ck_assert_uint_eq(second.result->news.to_device.size(), 1);
    assert_read_back(storage, a.device, second.result->news);
    assert_text(storage.database.value("SELECT string_agg(room_id || ' ' || reason, ', ' ORDER BY room_id) FROM set_aside"),
                "!4:world PostgreSQL refuses it with SQLSTATE 54000, !7:world timeline: expected an object");
    assert_text(storage.database.value("SELECT convert_from(raw, 'UTF8') FROM set_aside WHERE room_id = '!4:world'"),
                raw_of(first_part("!4:world", {event("$poison", "org.poison")})));
    ck_assert_uint_eq(storage.lines.size(), 2);
    ck_assert_int_eq(std::ranges::count(storage.watched.durable, true), durable_before + 1);
    assert_text(storage.database.value("SELECT since FROM device WHERE id = " + std::to_string(a.device.value)), "next");

    // Its next part is tried together with what was set aside, in order.
    ingest(storage, piece(a, "next", one(part("!4:world", {event("$after")})), "later"));
    assert_text(storage.count("set_aside WHERE room_id = '!4:world'"), "2");
    storage.database.execute("DROP TRIGGER refuse ON event");
    ingest(storage, piece(a, "later", one(part("!4:world", {event("$last")})), "last"));
    assert_text(storage.told(a.device, "!4:world"), "|1:$poison; 1:$after; 1:$last");
    assert_text(storage.count("set_aside WHERE room_id = '!4:world'"), "0");
}
END_TEST

START_TEST(what_no_room_is_to_blame_for_is_thrown) {
    Storage storage;
    Lease lease = storage.device("A");
    int failures = 0;
    storage.watched.before = [&](const Statement& statement) {
        if (std::string(statement.name) != "ingest_insert_events") return;
        ++failures;
        throw StatementFailed("53100", "disk full");
    };
    try {
        ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
        ck_abort_msg("nothing was thrown");
    } catch (const StatementFailed& failure) {
        assert_text(failure.sqlstate, "53100");
    }
    ck_assert_int_eq(failures, 2);
    storage.watched.before = [&](const Statement&) { throw DatabaseUnavailable("gone"); };
    try {
        ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
        ck_abort_msg("nothing was thrown");
    } catch (const DatabaseUnavailable&) {
    }
    storage.watched.before = {};
    assert_text(storage.count("set_aside"), "0");
    assert_text(storage.count("log"), "0");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    assert_text(storage.count("log"), "1");
}
END_TEST

START_TEST(an_event_of_another_room_sets_the_room_aside) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    std::vector<RoomPart> rooms;
    rooms.push_back(part("!r:world", {event("$2")}));
    rooms.push_back(first_part("!s:world", {event("$1")}));
    auto ingested = ingest(storage, piece(lease, "next", std::move(rooms)));
    ck_assert_uint_eq(ingested.news.entries.size(), 1);
    ck_assert(ingested.without_state.empty());
    assert_text(storage.told(lease.device, "!s:world"), "");
    assert_text(storage.database.value("SELECT reason FROM set_aside"), "it lists an event of another room");
}
END_TEST

START_TEST(a_room_without_create_is_set_aside_until_its_state_is_known) {  // rule 11
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, {}));
    auto first = ingest(storage, piece(lease, "next", one(part("!r:world", {event("$1")})), "s1"));
    ck_assert(first.without_state == std::vector<RoomId>{RoomId{"!r:world"}});
    ck_assert(first.news.entries.empty());
    auto second = ingest(storage, piece(lease, "s1", one(part("!r:world", {event("$2")})), "s2"));
    ck_assert_uint_eq(second.without_state.size(), 1);
    assert_text(storage.count("set_aside"), "2");
    assert_text(storage.count("log"), "0");

    std::vector<Event> state{event("$name", "m.room.name", "")};
    auto still = complete(storage.logs.ingest_aside(lease, RoomId{"!r:world"}, state));
    ck_assert(still.news.entries.empty() && still.without_state.empty());
    assert_text(storage.count("set_aside"), "2");
    state.push_back(create("!r:world"));
    auto found = complete(storage.logs.ingest_aside(lease, RoomId{"!r:world"}, state));
    assert_read_back(storage, lease.device, found.news);
    ck_assert_uint_eq(found.news.entries.size(), 2);
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; 1:$2");
    assert_text(storage.count("set_aside"), "0");
    ck_assert_uint_eq(complete(storage.reader.state(found.news.entries.back().state)).size(), 2);
    ck_assert(complete(storage.logs.ingest_aside(lease, RoomId{"!r:world"}, state)).news.entries.empty());
}
END_TEST

START_TEST(a_new_beginning_does_without_what_was_set_aside) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    RoomPart broken = part("!r:world", {});
    broken.broken = "no";
    broken.raw = "[]";
    ingest(storage, piece(lease, "next", one(broken), "s1"));
    ingest(storage, piece(lease, "s1", one(part("!r:world", {event("$3")})), "s2"));
    assert_text(storage.count("set_aside"), "2");
    ingest(storage, piece(lease, "s2", one(part("!r:world", {event("$4")}, {}, Section::leave)), "s3"));
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; |2:$4");
    assert_text(storage.count("set_aside"), "0");

    // A room of which nothing but a part set aside is known is left without a trace.
    ingest(storage, piece(lease, "s3", one(part("!s:world", {event("$5")})), "s4"));
    ingest(storage, piece(lease, "s4", one(part("!s:world", {event("$6")}, {}, Section::leave)), "s5"));
    assert_text(storage.told(lease.device, "!s:world"), "");
    assert_text(storage.count("set_aside"), "0");
}
END_TEST

START_TEST(a_repeated_answer_replaces_what_was_set_aside_of_it) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:world", {event("$1")}))));
    RoomPart broken = part("!r:world", {event("$2")});
    broken.broken = "no";
    ingest(storage, piece(lease, "next", one(broken), std::nullopt));
    ingest(storage, piece(lease, "next", one(part("!r:world", {event("$2"), event("$3")})), "s1"));
    assert_text(storage.told(lease.device, "!r:world"), "|1:$1; 1:$2 $3");
    assert_text(storage.count("set_aside"), "0");
}
END_TEST

START_TEST(an_answer_without_since_leaves_what_it_omits) {
    Storage storage;
    Lease lease = storage.device("A");
    std::vector<RoomPart> rooms;
    for (const char* room : {"!kept:w", "!gone:w", "!early:w", "!aside:w"})
        rooms.push_back(first_part(room, {event(std::string("$1") + room)}));
    rooms.push_back(part("!invited:w", {}, {}, Section::invite));
    ingest(storage, piece(lease, std::nullopt, std::move(rooms), "s1"));
    lease = storage.claim(lease.device);

    // A first answer that was cut off listed a room that the next one does not.
    ingest(storage, piece(lease, std::nullopt, one(first_part("!gone:w", {event("$2!gone:w")})), std::nullopt));
    lease = storage.claim(lease.device);
    const Position began = complete(storage.logs.device(UserId{"@u:world"}, DeviceId{"A"})).end;
    RoomPart broken = first_part("!aside:w", {});
    broken.broken = "no";
    std::vector<RoomPart> early;
    early.push_back(first_part("!early:w", {event("$2!early:w")}));
    early.push_back(broken);
    ingest(storage, piece(lease, std::nullopt, std::move(early), std::nullopt));
    auto last = piece(lease, std::nullopt, one(first_part("!kept:w", {event("$2!kept:w")})), "s2");
    last.began = began;
    auto ingested = ingest(storage, std::move(last));
    assert_read_back(storage, lease.device, ingested.news);
    assert_text(storage.told(lease.device, "!kept:w"), "|1:$1!kept:w; |1:$2!kept:w");
    assert_text(storage.told(lease.device, "!early:w"), "|1:$1!early:w; |1:$2!early:w");
    assert_text(storage.told(lease.device, "!aside:w"), "|1:$1!aside:w");
    assert_text(storage.told(lease.device, "!gone:w"), "|1:$1!gone:w; |1:$2!gone:w; |2:");
    assert_text(storage.told(lease.device, "!invited:w"), "|3:; |2:");
    assert_text(storage.database.value("SELECT string_agg(room_id, ' ') FROM set_aside"), "!aside:w");
}
END_TEST

START_TEST(invites_are_retired_and_stray_leaves_make_no_room) {  // rules 11 and 15
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, {}));
    ingest(storage, piece(lease, "next", one(part("!r:w", {}, {}, Section::invite))));
    ingest(storage, piece(lease, "next", one(part("!r:w", {event("$1", "m.room.member", "@u:world")}, {}, Section::leave))));
    assert_text(storage.told(lease.device, "!r:w"), "|3:; 2:$1");
    auto stray = ingest(storage, piece(lease, "next", one(part("!s:w", {event("$2", "m.room.member", "@u:world")}, {}, Section::leave))));
    ck_assert(stray.news.entries.empty());
    ck_assert(!storage.room("!s:w"));
    ingest(storage, piece(lease, "next", one(first_part("!r:w", {event("$3")}))));
    assert_text(storage.told(lease.device, "!r:w"), "|3:; 2:$1; |1:$3");
}
END_TEST

START_TEST(redactions_change_what_is_stored) {  // rule 16
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    ingest(storage, piece(a, std::nullopt, one(first_part("!r:w", {event("$target"), event("$other")}))));
    ck_assert(storage.body("$target").find("text of " + std::string("$target")) != std::string::npos);
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$redaction", "$target")}))));
    ck_assert(storage.body("$target").find("text of " + std::string("$target")) == std::string::npos);
    ck_assert(storage.body("$target").find("redacted_because") != std::string::npos);
    ck_assert(storage.body("$other").find("text of " + std::string("$other")) != std::string::npos);
    // State too: the sets point to the same row.
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$redaction2", "$name!r:w")}))));
    ck_assert(storage.body("$name!r:w").find("text of " + std::string("$name!r:w")) == std::string::npos);

    // The redaction first, its target in a later answer, or in the same one.
    ingest(storage, piece(a, "next", one(part("!r:w", {redaction("$early", "$late")}))));
    assert_text(storage.body("$late"), "");
    assert_text(storage.count("event WHERE room = 0"), "0");
    ingest(storage, piece(b, std::nullopt, one(first_part("!r:w", {event("$late"), redaction("$r3", "$same"), event("$same")}))));
    ck_assert(storage.body("$late").find("text of " + std::string("$late")) == std::string::npos);
    ck_assert(storage.body("$same").find("text of " + std::string("$same")) == std::string::npos);

    // Not across rooms.
    ingest(storage, piece(a, "next", one(first_part("!s:w", {redaction("$foreign", "$other")}))));
    ck_assert(storage.body("$other").find("text of " + std::string("$other")) != std::string::npos);

    // A homeserver that gives the redacted event has redacted it, seen the redaction or not.
    Event redacted = event("$other");
    redacted.body = R"({"type":"m.room.message","content":{},"unsigned":{"redacted_because":{}}})";
    ingest(storage, piece(b, "next", one(part("!r:w", {redacted}))));
    assert_text(storage.body("$other"), redacted.body);
    Event pretended = event("$fake");
    pretended.body = R"({"type":"m.room.message","content":{"redacted_because":{},"body":"text of $fake"}})";
    ingest(storage, piece(b, "next", one(part("!r:w", {pretended}))));
    ingest(storage, piece(b, "next", one(part("!r:w", {redaction("$r4", "$fake")}))));
    ck_assert(storage.body("$fake").find("text of " + std::string("$fake")) == std::string::npos);
}
END_TEST

namespace {

/// Until PostgreSQL says that somebody waits for a lock.
void wait_for_lock(Storage& storage) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (storage.count("pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "0") {
        ck_assert_msg(std::chrono::steady_clock::now() < limit, "nobody waits for a lock");
    }
}

}  // namespace

START_TEST(a_redaction_meets_its_target_while_both_are_stored) {  // rule 16
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    ingest(storage, piece(a, std::nullopt, one(first_part("!r:w", {event("$1")}))));
    BlockingDatabase elsewhere(postgres().conninfo(storage.database.value("SELECT current_database()")));
    for (const bool redaction_first : {true, false}) {
        const std::string target = redaction_first ? "$target1" : "$target2";
        RoomPart redacting = part("!r:w", {redaction("$of" + target, target)});
        RoomPart redacted = first_part("!r:w", {event(target)});
        storage.watched.commits.closed = true;
        Running first(storage, redaction_first ? piece(a, "next", one(redacting)) : piece(b, std::nullopt, one(redacted)));
        ck_assert_uint_eq(storage.watched.commits.waiting(), 1);
        std::string error;
        std::thread second([&] {
            try {
                PostgresLogs logs(elsewhere, [](const std::string&) {});
                complete(logs.ingest(redaction_first ? piece(b, std::nullopt, one(redacted)) : piece(a, "next", one(redacting))));
            } catch (const std::exception& thrown) {
                error = thrown.what();
            }
        });
        wait_for_lock(storage);
        storage.watched.commits.open();
        second.join();
        assert_text(error, "");
        ck_assert(first.result.has_value());
        ck_assert(storage.body(target).find("text of " + std::string(target)) == std::string::npos);
    }
}
END_TEST

START_TEST(what_since_acknowledges_is_stored_with_it) {  // rule 2
    Storage storage;
    Lease lease = storage.device("A");
    storage.watched.durable.clear();
    auto first = piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")})), "s1");
    first.rest->account_data = {{"m.direct", "{1}"}, {"m.push_rules", "{2}"}, {"m.direct", "{3}"}};
    ingest(storage, std::move(first));
    ck_assert(!storage.watched.durable.back());

    auto second = piece(lease, "s1", one(part("!r:w", {event("$2")})), "s2");
    second.rest->to_device = {"{one}", "{two}"};
    second.rest->device_lists_changed = {UserId{"@a:w"}, UserId{"@b:w"}};
    second.rest->device_lists_left = {UserId{"@c:w"}};
    second.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    auto ingested = ingest(storage, std::move(second));
    ck_assert(storage.watched.durable.back());
    ck_assert_int_eq(ingested.news.to.value - ingested.news.from.value, 1 + 2 + 3 + 1);
    assert_read_back(storage, lease.device, ingested.news);
    auto claimed = complete(storage.logs.claim(lease.device, WorkerKey{1}));
    assert_text(claimed.since.value_or("none"), "s2");
    lease = *claimed.lease;

    // Nothing of an answer that fails.
    storage.watched.before = [](const Statement& statement) {
        if (std::string(statement.name) == "ingest_end_answer") throw StatementFailed("53100", "disk full");
    };
    auto third = piece(lease, "s2", {}, "s3");
    third.rest->to_device = {"{three}"};
    try {
        ingest(storage, std::move(third));
        ck_abort_msg("nothing was thrown");
    } catch (const StatementFailed&) {
    }
    storage.watched.before = {};
    auto messages = complete(storage.logs.to_device(lease.device, Position{}, 10));
    ck_assert_uint_eq(messages.size(), 2);
    assert_text(messages[1].body, "{two}");
    auto data = complete(storage.logs.account_data(lease.device, Position{}));
    ck_assert_uint_eq(data.size(), 2);
    assert_text(data[0].body, "{3}");

    // Latest wins.
    auto fourth = piece(lease, "s2", {}, "s3");
    fourth.rest->device_lists_left = {UserId{"@a:w"}};
    fourth.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    ck_assert(!ingest(storage, std::move(fourth)).news.key_counts);
    auto lists = complete(storage.logs.device_lists(lease.device, Position{}));
    ck_assert_uint_eq(lists.size(), 3);
    assert_text(lists[2].user.value, "@a:w");
    ck_assert(lists[2].left && !lists[0].left && lists[1].left);

    // Absent and empty are two things (rule 25).
    auto counts = complete(storage.logs.key_counts(lease.device));
    ck_assert(counts.one_time_keys_count && !counts.unused_fallback_key_types);
    auto fifth = piece(lease, "s3", {}, "s4");
    fifth.rest->one_time_keys_count = R"({"signed_curve25519":50})";
    fifth.rest->unused_fallback_key_types = "[]";
    auto changed = ingest(storage, std::move(fifth));
    ck_assert(changed.news.key_counts && changed.news.key_counts->unused_fallback_key_types == "[]");
    ck_assert(!storage.watched.durable.back());
}
END_TEST

START_TEST(a_repeated_poll_goes_on_where_the_cut_off_one_ended) {
    Storage storage;
    Lease lease = storage.device("A");
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")})), "s1"));
    ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$2"), event("$3", "m.room.topic", "")})), std::nullopt));
    lease = storage.claim(lease.device);
    auto same = ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$2"), event("$3", "m.room.topic", "")})), std::nullopt));
    ck_assert(same.news.entries.empty());
    auto more = ingest(storage, piece(lease, "s1", one(part("!r:w", {event("$3", "m.room.topic", ""), event("$4")})), "s2"));
    assert_text(storage.told(lease.device, "!r:w"), "|1:$1; 1:$2 $3; 1:$4");
    ck_assert(!more.news.entries[0].prev_batch);
    ck_assert(more.news.entries[0].seq.generation() == lease.epoch);
}
END_TEST

START_TEST(transaction_ids_and_typing_are_the_devices_own) {
    Storage storage;
    Lease a = storage.device("A");
    Lease b = storage.device("B");
    Event sent = event("$2");
    sent.transaction_id = "txn";
    ingest(storage, piece(a, std::nullopt, one(first_part("!r:w", {event("$1"), sent}))));
    ingest(storage, piece(b, std::nullopt, one(first_part("!r:w", {event("$1"), event("$2")}))));
    const std::vector<std::optional<std::string>> ids{std::nullopt, "txn"};
    ck_assert(storage.entries(a.device, "!r:w")[0].transaction_ids == ids);
    ck_assert(storage.entries(b.device, "!r:w")[0].transaction_ids.empty());

    RoomPart typing = part("!r:w", {});
    typing.typing = std::vector<std::string>{"@x:world", "@y:world"};
    ingest(storage, piece(a, "next", one(typing)));
    typing.typing->clear();
    auto stopped = ingest(storage, piece(a, "next", one(typing)));
    ck_assert_uint_eq(stopped.news.entries.size(), 1);
    auto now = complete(storage.logs.typing(a.device, Milliseconds{120'000}));
    ck_assert_uint_eq(now.size(), 1);
    ck_assert(now[0].typing && now[0].typing->empty() && now[0].seq == stopped.news.to && now[0].state);
    ck_assert(complete(storage.logs.typing(a.device, Milliseconds{-60'000})).empty());
    ck_assert(ingest(storage, piece(a, "next", one(part("!r:w", {})))).news.entries.empty());
    storage.claim(a.device);  // whoever follows has heard nothing yet
    ck_assert(complete(storage.logs.typing(a.device, Milliseconds{120'000})).empty());
}
END_TEST

START_TEST(news_comes_in_bounded_pages_that_miss_nothing) {
    Storage storage;
    Lease lease = storage.device("A");
    std::vector<RoomPart> rooms;
    for (int i = 0; i < 1500; ++i) rooms.push_back(first_part("!" + std::to_string(i) + ":w", {}));
    auto first = piece(lease, std::nullopt, std::move(rooms));
    for (int i = 0; i < 700; ++i) first.rest->to_device.push_back("{" + std::to_string(i) + "}");
    auto ingested = ingest(storage, std::move(first));
    std::size_t entries = 0;
    std::size_t messages = 0;
    int pages = 0;
    for (Position at = ingested.news.from; at < ingested.news.to; ++pages) {
        News page = complete(storage.logs.news(lease.device, at));
        ck_assert(page.from == at && page.to > at && page.entries.size() <= 1000 && page.to_device.size() <= 1000);
        for (const Entry& entry : page.entries) ck_assert(entry.seq > at && entry.seq <= page.to);
        for (const ToDeviceMessage& message : page.to_device) assert_text(message.body, "{" + std::to_string(messages++) + "}");
        entries += page.entries.size();
        at = page.to;
    }
    ck_assert_uint_eq(entries, 1500);
    ck_assert_uint_eq(messages, 700);
    ck_assert_int_gt(pages, 2);
}
END_TEST

START_TEST(large_tables_are_never_read_whole) {
    Storage storage;
    Lease lease = storage.device("A");
    // Every statement is used once.
    ingest(storage, piece(lease, std::nullopt, one(first_part("!r:w", {event("$1")}))));
    RoomPart everything = part("!r:w", {event("$2"), redaction("$3", "$1"), event("$4", "m.room.topic", "")});
    everything.timeline[0].body = R"({"unsigned":{"redacted_because":{}}})";
    everything.typing.emplace();
    auto all = piece(lease, "next", one(everything));
    all.rest->to_device = {"{}"};
    all.rest->device_lists_changed = {UserId{"@a:w"}};
    all.rest->account_data = {{"m.direct", "{}"}};
    all.rest->one_time_keys_count = "{}";
    auto ingested = ingest(storage, std::move(all));
    ingest(storage, piece(lease, "next", one(part("!s:w", {event("$5")}))));
    std::vector<Event> state{create("!s:w")};
    complete(storage.logs.ingest_aside(lease, RoomId{"!s:w"}, state));
    ingest(storage, piece(lease, "next", {}, std::nullopt));
    complete(storage.logs.news(lease.device, Position{}));
    complete(storage.logs.typing(lease.device, Milliseconds{1}));
    complete(storage.reader.last(lease.device, *storage.room("!r:w"), ingested.news.to, 1));
    storage.entries(lease.device, "!r:w");
    std::vector<Lease> leases{lease};
    complete(storage.logs.release(leases));
    ck_assert_uint_ge(storage.watched.statements.size(), 40);

    storage.database.execute(R"(
        INSERT INTO room (room_id) SELECT '!x' || i FROM generate_series(1, 20000) i;
        INSERT INTO event (event_id, room, type, sender, origin_server_ts, body) SELECT '$x' || i, i % 20000, 't', 's', 0, '{}' FROM generate_series(1, 60000) i;
        INSERT INTO log (device, seq, room, section, events, gap, limited, next_batch) SELECT i % 500, i, i % 20000, 1, '{}', false, false, '' FROM generate_series(10, 60000) i;
        INSERT INTO room_state (room, hash, refs) SELECT i, decode(md5(i::text), 'hex'), '{}' FROM generate_series(10, 20000) i;
        INSERT INTO device (user_id, device_id) SELECT 'u' || i, 'd' FROM generate_series(1, 20000) i;
        INSERT INTO to_device SELECT i % 500, i, '{}' FROM generate_series(100, 20000) i;
        INSERT INTO device_list SELECT i % 500, 'u' || i, i, false FROM generate_series(100, 20000) i;
        INSERT INTO account_data SELECT i % 500, 't' || i, i, '{}' FROM generate_series(100, 20000) i;
        INSERT INTO redaction SELECT i, '$x' || i, i FROM generate_series(100, 20000) i;
        INSERT INTO set_aside (device, room_id, part, section, raw, reason) SELECT i % 500, '!x' || i, i, 1, '', '' FROM generate_series(100, 20000) i;
        ANALYZE; SET plan_cache_mode = force_generic_plan)");
    for (const auto& [name, used] : storage.watched.statements) {
        std::string arguments;
        for (std::size_t i = 0; i < used.second; ++i) arguments += i ? ", NULL" : "NULL";
        storage.database.execute("PREPARE explained AS " + std::string(used.first->sql));
        Rows plan = storage.database.execute("EXPLAIN EXECUTE explained" + (arguments.empty() ? "" : "(" + arguments + ")"));
        std::string text;
        for (std::size_t row = 0; row < plan.size(); ++row) text += std::string(plan.text(row, 0)) + "\n";
        const std::size_t scan = text.find("Seq Scan on ");
        const bool whole = scan != std::string::npos && text.compare(scan, 18, "Seq Scan on server") != 0 &&
                           text.compare(scan, 18, "Seq Scan on worker") != 0;
        ck_assert_msg(!whole, "%s:\n%s", name.c_str(), text.c_str());
        storage.database.execute("DEALLOCATE explained");
    }
}
END_TEST

MATRIX_SYNC_SUITE("log storage", storage_reads_back_what_the_model_reads_back, devices_share_events_and_states,
                  large_states_are_kept_as_differences, a_lost_lease_changes_nothing, an_owner_is_succeeded_when_it_is_dead_or_has_let_go,
                  a_database_belongs_to_one_homeserver, pieces_that_wait_share_a_transaction, an_abandoned_piece_harms_nobody,
                  a_room_that_is_refused_is_set_aside_and_the_others_go_on, what_no_room_is_to_blame_for_is_thrown,
                  an_event_of_another_room_sets_the_room_aside, a_room_without_create_is_set_aside_until_its_state_is_known,
                  a_new_beginning_does_without_what_was_set_aside, a_repeated_answer_replaces_what_was_set_aside_of_it,
                  an_answer_without_since_leaves_what_it_omits, invites_are_retired_and_stray_leaves_make_no_room,
                  redactions_change_what_is_stored, a_redaction_meets_its_target_while_both_are_stored,
                  what_since_acknowledges_is_stored_with_it, a_repeated_poll_goes_on_where_the_cut_off_one_ended,
                  transaction_ids_and_typing_are_the_devices_own, news_comes_in_bounded_pages_that_miss_nothing,
                  large_tables_are_never_read_whole)
