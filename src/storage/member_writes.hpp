// What is to be written to member lists, collected and then sent in a few statements.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/rooms/member_fact.hpp"
#include "storage/ingest_sending.hpp"

namespace matrix_sync {

/// A row: whose it is, and the version of the list that it begins with.
struct MemberRowKey {
    RoomKey room;
    std::string user;
    std::int64_t since = 0;
};

class MemberWrites {
  public:
    void close(const MemberRowKey& key, std::int64_t until);
    void insert(const MemberRowKey& key, const Member& member, const MemberRow& row);
    /// The same row, better known.
    void note(const MemberRowKey& key, const MemberRow& row);
    void put_list(RoomKey room, std::int64_t version, const MemberListTimes& times);

    void send(Sending& sending) const;

  private:
    struct Keys {
        std::vector<std::int64_t> rooms;
        std::vector<std::string> users;
        std::vector<std::int64_t> since;

        void add(const MemberRowKey& key);
        Params params() const;
    };
    struct Times {
        std::vector<std::int64_t> asked;
        std::vector<std::int64_t> answered;
        std::vector<std::string> earlier;

        void add(const MemberRow& row);
    };

    struct Closed {
        Keys keys;
        std::vector<std::int64_t> until;
    } closed_;
    struct Inserted {
        Keys keys;
        std::vector<std::int64_t> refs;
        std::vector<std::int16_t> memberships;
        std::vector<std::string> sort_names;
        std::vector<std::optional<std::string>> displaynames;
        std::vector<std::optional<std::string>> avatar_urls;
        Times times;
    } inserted_;
    struct Noted {
        Keys keys;
        Times times;
    } noted_;
    struct Lists {
        std::vector<std::int64_t> rooms;
        std::vector<std::int64_t> versions;
        std::vector<std::int64_t> doubts;
        std::vector<std::int64_t> fetched;
    } lists_;
};

}  // namespace matrix_sync
