// What the core asks about rooms, from PostgreSQL. What an entry, a ref or a state key names never changes, but for redactions.
#pragma once

#include "matrix_sync/database.hpp"
#include "matrix_sync/rooms.hpp"
#include "storage/members.hpp"

namespace matrix_sync {

class PostgresRooms : public RoomStore {
  public:
    explicit PostgresRooms(Database& database) : database_(database), members_(database) {}

    Task<std::vector<RoomRow>> rooms(DeviceKey device, RoomKey after) override;
    Task<std::optional<RoomRow>> room(DeviceKey device, RoomId room) override;
    Task<std::vector<Receipt>> receipts(DeviceKey device, RoomKey room, Position after) override;
    Task<std::vector<AccountDataEvent>> room_account_data(DeviceKey device, RoomKey room, Position after) override;
    Task<std::optional<std::string>> account_data(DeviceKey device, std::string type) override;
    Task<std::optional<std::string>> classic_since(DeviceKey device) override;

    Task<std::vector<Entry>> entries(DeviceKey device, RoomKey room, Position from, Position to) override;
    Task<std::optional<Entry>> newest(DeviceKey device, RoomKey room, Position to) override;
    Task<std::vector<Entry>> last(DeviceKey device, std::vector<RoomKey> rooms, Position to, int most) override;

    Task<std::vector<StoredEvent>> events(std::vector<EventRef> refs) override;
    Task<std::map<StateKey, StateMap>> states(std::vector<StateKey> keys) override;

    Task<std::vector<std::pair<RoomKey, Member>>> members_of(std::vector<std::pair<RoomKey, std::string>> pairs) override;
    Task<std::vector<RoomPeople>> people(std::vector<RoomKey> rooms, UserId without, int most) override;
    Task<MemberListEnd> member_list(RoomKey room) override;
    Task<MemberChanges> member_changes(RoomKey room, std::int64_t after) override;
    Task<MembersAt> members_at(RoomKey room, std::int64_t version, Memberships memberships, MemberStart after, int most,
                               std::vector<std::string> named) override;
    Task<std::vector<RoomKey>> store_members(std::vector<RoomMembers> rooms, std::int64_t asked) override;
    Task<std::int64_t> now() override;
    Task<void> end_members(RoomKey room, std::vector<std::string> listed, std::int64_t asked) override;

    Task<int> add_snapshot(const SessionId& session, Paged stream, Snapshot snapshot) override;
    Task<std::optional<Snapshot>> snapshot(const SessionId& session, Paged stream, int number) override;

  private:
    Database& database_;
    PostgresMembers members_;
};

}  // namespace matrix_sync
