#include "core/matrix/room_name.hpp"

#include <algorithm>
#include <iterator>

namespace matrix_sync {

namespace {

using Hero = NameParts::Hero;
using Heroes = std::vector<Hero>;

// What the specification asks clients to name at least, and homeservers send at most.
constexpr std::size_t most_named = 5;

bool is_here(const Hero& hero) {
    return hero.membership == "join" || hero.membership == "invite";
}

const std::string& label(const Hero& hero) {
    return hero.displayname && !hero.displayname->empty() ? *hero.displayname : hero.user_id;
}

std::vector<std::string> names_of(const Heroes& heroes) {
    std::vector<std::string> names;
    for (const Hero& hero : heroes) {
        bool shared = std::count_if(heroes.begin(), heroes.end(), [&](const Hero& other) { return label(other) == label(hero); }) > 1;
        names.push_back(shared && label(hero) != hero.user_id ? label(hero) + " (" + hero.user_id + ")" : label(hero));
    }
    return names;
}

// `A, B and C`
std::string joined(const std::vector<std::string>& names) {
    std::string all;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) all += i + 1 < names.size() ? ", " : " and ";
        all += names[i];
    }
    return all;
}

// The first of `heroes` by their names, and the rest of `people` by their number.
std::string composed(Heroes heroes, std::int64_t people) {
    if (heroes.size() > most_named) heroes.resize(most_named);
    std::vector<std::string> names = names_of(heroes);
    std::int64_t others = people - std::ssize(names);
    if (others > 0) names.push_back(std::to_string(others) + (others == 1 ? " other" : " others"));
    return joined(names);
}

std::string name_by_members(const NameParts& parts) {
    std::int64_t here = std::count_if(parts.heroes.begin(), parts.heroes.end(), is_here);
    std::int64_t people = std::max(parts.joined + parts.invited - 1, here);
    if (people > 0) {
        Heroes present;
        std::copy_if(parts.heroes.begin(), parts.heroes.end(), std::back_inserter(present), may_be_here);
        return composed(std::move(present), people);
    }
    if (parts.heroes.empty()) return "Empty Room";
    return "Empty Room (was " + composed(parts.heroes, std::ssize(parts.heroes)) + ")";
}

}  // namespace

bool may_be_here(const NameParts::Hero& hero) {
    return is_here(hero) || hero.membership.empty();
}

std::string room_name(const NameParts& parts) {
    if (parts.name && !parts.name->empty()) return *parts.name;
    if (parts.canonical_alias && !parts.canonical_alias->empty()) return *parts.canonical_alias;
    return name_by_members(parts);
}

}  // namespace matrix_sync
