#include "core/streams/room_list_terms.hpp"

#include <algorithm>
#include <limits>

#include "core/matrix/casefold.hpp"
#include "core/sessions/query.hpp"

namespace matrix_sync {

namespace {

constexpr std::int64_t kDefaultRooms = 20;
constexpr std::int64_t kMostRooms = 1000;
constexpr std::int64_t kDefaultListTimeline = 1;
constexpr std::int64_t kMostListTimeline = 50;
constexpr RoomSort kDefaultSort = RoomSort::by_recency;

std::int64_t negotiated(const Fields& fields, const char* key, std::int64_t least, std::int64_t otherwise, std::int64_t most,
                        Json& params) {
    const std::int64_t number = std::min(fields.integer(key, least).value_or(otherwise), most);
    if (number != otherwise) params[key] = number;
    return number;
}

std::vector<RoomId> read_spaces(const Fields& fields, Json& params) {
    auto listed = fields.strings("spaces").value_or(std::vector<std::string>{});
    if (!listed.empty()) params["spaces"] = listed;
    std::vector<RoomId> spaces;
    for (std::string& id : listed) spaces.emplace_back(std::move(id));
    return spaces;
}

void read_flag(const Fields& fields, const char* key, std::optional<bool>& flag, Json& params) {
    flag = fields.boolean(key);
    if (flag) params[key] = *flag;
}

void read_texts(const Fields& fields, const char* key, RoomFilters::Texts& texts, Json& params) {
    auto listed = fields.strings(key);
    if (!listed) return;
    params[key] = *listed;
    texts.emplace(listed->begin(), listed->end());
}

/// null stands for rooms without a type.
void read_types(const Fields& fields, const char* key, RoomFilters::Texts& types, Json& params) {
    const Json* listed = fields.array(key);
    if (!listed) return;
    types.emplace();
    for (const Json& type : *listed) {
        if (!type.is_string() && !type.is_null()) fields.fail(key, "expected an array of strings or null");
        types->insert(type.is_null() ? std::string() : type.get<std::string>());
    }
    params[key] = *listed;
}

RoomFilters read_filters(const Fields& fields, Json& params) {
    RoomFilters filters;
    Json asked = Json::object();
    read_flag(fields, "is_dm", filters.is_dm, asked);
    read_flag(fields, "is_encrypted", filters.is_encrypted, asked);
    read_flag(fields, "is_invite", filters.is_invite, asked);
    read_types(fields, "room_types", filters.room_types, asked);
    read_types(fields, "not_room_types", filters.not_room_types, asked);
    read_texts(fields, "tags", filters.tags, asked);
    read_texts(fields, "not_tags", filters.not_tags, asked);
    if (auto name = fields.text("room_name_like")) {
        asked["room_name_like"] = *name;
        filters.room_name_like = casefold(*name);
    }
    if (!asked.empty()) params["filters"] = std::move(asked);
    return filters;
}

/// The names of `p.sort`; none: it is absent.
std::vector<std::string> read_sort_names(const Fields& p) {
    const Json* sort = p.find("sort");
    if (!sort) return {};
    const bool is_names = sort->is_string() ||
                          (sort->is_array() && std::all_of(sort->begin(), sort->end(), [](const Json& name) { return name.is_string(); }));
    if (!is_names) p.fail("sort", "expected a string or an array of strings");
    if (sort->is_string()) return {sort->get<std::string>()};
    return sort->get<std::vector<std::string>>();
}

std::vector<RoomSort> negotiated_sorts(const std::vector<std::string>& names, bool spaces) {
    std::vector<RoomSort> sorts;
    for (const std::string& name : names) {
        RoomSort sort = read_room_sort(name).value_or(kDefaultSort);
        if (sort == RoomSort::by_space_order && !spaces) sort = kDefaultSort;
        if (std::ranges::find(sorts, sort) == sorts.end()) sorts.push_back(sort);
    }
    if (sorts.empty()) sorts.push_back(kDefaultSort);
    return sorts;
}

Json shown_sorts(const std::vector<RoomSort>& sorts, const Json* asked) {
    if (!asked || !asked->is_array()) return std::string(name_of(sorts.front()));
    Json shown = Json::array();
    for (RoomSort sort : sorts) shown.push_back(std::string(name_of(sort)));
    return shown;
}

}  // namespace

RoomListTerms::RoomListTerms(const Fields& fields) : required(fields, RequiredState()), params(Json::object()) {
    spaces = read_spaces(fields, params);
    filters = read_filters(fields.object("filters"), params);
    if (!required.empty()) params["required_state"] = required.params();
    timeline_limit = static_cast<int>(negotiated(fields, "timeline_limit", 0, kDefaultListTimeline, kMostListTimeline, params));

    const Fields p = fields.object("p");
    Json asked = Json::object();
    limit = static_cast<int>(negotiated(p, "limit", 1, kDefaultRooms, kMostRooms, asked));
    sorts = negotiated_sorts(read_sort_names(p), !spaces.empty());
    const Json* sort = p.find("sort");
    used_sort = shown_sorts(sorts, sort);
    if (sort && *sort != Json(std::string(name_of(kDefaultSort)))) asked["sort"] = *sort;
    if (!asked.empty()) params["p"] = std::move(asked);
}

std::string RoomListTerms::snapshot_params() const {
    Json shared = params;
    if (auto p = shared.find("p"); p != shared.end()) {
        p->erase("limit");
        if (p->empty()) shared.erase(p);
    }
    return shared.dump();
}

bool RoomListTerms::names() const {
    return filters.room_name_like || std::ranges::find(sorts, RoomSort::by_name) != sorts.end();
}

MatrixError no_such_list_page() {
    return {400, "M_INVALID_PARAM", "room_list.p.since: no such page"};
}

RoomListPageToken RoomListPageToken::decode(std::string_view text) {
    Words words(text, '_');
    const std::int64_t snapshot = words.number();
    if (snapshot < 1 || snapshot > std::numeric_limits<int>::max()) throw no_such_list_page();
    RoomListPageToken token{static_cast<int>(snapshot), words.number()};
    if (token.offset < 1 || token.encode() != text) throw no_such_list_page();
    return token;
}

}  // namespace matrix_sync
