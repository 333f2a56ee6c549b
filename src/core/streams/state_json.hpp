// The state that answers show: `required_state`, as api.md, "Who sees what", has it.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/json/value.hpp"
#include "core/streams/reading.hpp"

namespace matrix_sync {

class RequiredState {
  public:
    /// Nothing.
    RequiredState() = default;
    /// The field `required_state`, or `otherwise` when it is absent. Throws MatrixError 400 M_BAD_JSON that names the field.
    RequiredState(const Fields& fields, RequiredState otherwise);
    static RequiredState everything();

    bool names(const StateName& name) const;
    bool all_members() const;
    /// Members that are named one by one.
    std::set<std::string> members() const;
    bool empty() const { return pairs_.empty(); }
    /// As it was asked for.
    Json params() const;

    bool operator==(const RequiredState&) const = default;

  private:
    std::vector<std::pair<std::string, std::string>> pairs_;
};

/// Of a state set, the events that are required, members not among them; with `before` only those that are not the same there. JSON.
Task<std::vector<std::string>> state_events(Reading& reading, RequiredState required, StateKey now, StateKey before = {});

/// The newest member events of some users, as far as they are known. JSON.
Task<std::vector<std::string>> member_events(Reading& reading, RoomKey room, std::set<std::string> users);

/// `{"events": […]}`
std::string events_json(const std::vector<std::string>& events);

}  // namespace matrix_sync
