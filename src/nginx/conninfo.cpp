#include "nginx/conninfo.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace matrix_sync {

namespace {

struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

constexpr std::array shown{"service", "host", "hostaddr", "port", "dbname", "user"};

std::string label_of(const PQconninfoOption* options) {
    std::string label;
    for (const char* keyword : shown) {
        for (const auto* option = options; option->keyword; ++option) {
            // A dbname may itself be a connection string, with a password in it.
            if (std::string_view(option->keyword) != keyword || !option->val ||
                std::string_view(option->val).find_first_of("=:") != std::string_view::npos) {
                continue;
            }
            label += (label.empty() ? "" : " ") + std::string(keyword) + "=" + option->val;
        }
    }
    return label.empty() ? "libpq's defaults" : label;
}

}  // namespace

CheckedConninfo check_conninfo(const std::string& conninfo) {
    char* error = nullptr;
    Options options(PQconninfoParse(conninfo.c_str(), &error));
    std::unique_ptr<char, decltype(&PQfreemem)> owned(error, PQfreemem);
    if (options) return {.wrong = {}, .label = label_of(options.get())};

    std::string wrong =
        "needs a connection string as libpq takes it, such as \"host=/run/postgresql dbname=syncv3\" or "
        "\"postgresql:///syncv3?host=/run/postgresql\"";
    // libpq quotes what it could not read: that may be a password with a space in it.
    bool may_show = error && conninfo.find("pass") == std::string::npos && conninfo.find('@') == std::string::npos;
    if (may_show) {
        std::string_view reason(error);
        wrong += ": ";
        wrong += reason.substr(0, reason.find_last_not_of('\n') + 1);
    }
    return {.wrong = std::move(wrong), .label = {}};
}

ConnectionParameters::ConnectionParameters(const std::string& conninfo) {
    Options options(PQconninfoParse(conninfo.c_str(), nullptr));
    if (!options) throw std::logic_error("a connection string that was not checked");
    // Statements find their rows by indexes, in the order in which they name the tables, whatever is known of a table's size when they
    // are planned, which is once.
    std::string own =
        "-c lock_timeout=3s -c idle_in_transaction_session_timeout=5s -c plan_cache_mode=force_generic_plan -c join_collapse_limit=1"
        " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";
    for (const auto* option = options.get(); option->keyword; ++option) {
        if (!option->val) continue;
        if (std::string_view(option->keyword) == "options") {
            own += std::string(" ") + option->val;  // the later one counts
        } else {
            given_.emplace_back(option->keyword, option->val);
        }
    }
    given_.emplace_back("options", own + " -c search_path=matrix_sync");
    given_.emplace_back("client_encoding", "UTF8");
    add_default("application_name", "nginx matrix_sync");
    add_default("gssencmode", "disable");
    add_default("keepalives_idle", "30");
    add_default("keepalives_interval", "10");
    add_default("keepalives_count", "3");
    add_default("tcp_user_timeout", "30000");
}

void ConnectionParameters::add_default(const char* keyword, const char* value) {
    auto same = [&](const auto& given) { return given.first == keyword; };
    if (std::none_of(given_.begin(), given_.end(), same)) given_.emplace_back(keyword, value);
}

void ConnectionParameters::next_host() {
    for (auto& [keyword, value] : given_) {
        auto comma = value.find(',');
        bool list = keyword == "host" || keyword == "hostaddr" || keyword == "port";
        if (list && comma != std::string::npos) value = value.substr(comma + 1) + ',' + value.substr(0, comma);
    }
}

std::vector<const char*> ConnectionParameters::keywords() const {
    std::vector<const char*> result;
    for (const auto& [keyword, value] : given_) result.push_back(keyword.c_str());
    result.push_back(nullptr);
    return result;
}

std::vector<const char*> ConnectionParameters::values() const {
    std::vector<const char*> result;
    for (const auto& [keyword, value] : given_) result.push_back(value.c_str());
    result.push_back(nullptr);
    return result;
}

}  // namespace matrix_sync
