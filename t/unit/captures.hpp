// The recorded answers of a real homeserver, as the bytes that came.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/json/cursor.hpp"

struct Capture {
    std::string name;
    std::string response;
};

inline std::string contents_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file || text.empty()) throw std::runtime_error("cannot read " + path.string());
    return text;
}

/// The bytes of the capture's `response`; empty when it is no sync answer.
inline std::string response_in(const std::string& capture) {
    std::string response;
    matrix_sync::JsonCursor(capture).object("capture", [&](std::string_view name, matrix_sync::JsonCursor& value) {
        if (name == "response") response = value.skip();
    });
    return response;
}

inline std::string response_of(const std::string& name) {
    std::string response = response_in(contents_of(std::filesystem::path(CAPTURES) / (name + ".json")));
    if (response.empty()) throw std::runtime_error(name + " holds no response");
    return response;
}

/// Every sync answer there is, smallest first.
inline std::vector<Capture> all_captures() {
    std::vector<Capture> captures;
    for (const auto& entry : std::filesystem::directory_iterator(CAPTURES)) {
        std::string name = entry.path().stem().string();
        if (entry.path().extension() != ".json" || !name.starts_with("v2_")) continue;
        std::string response = response_in(contents_of(entry.path()));
        if (!response.empty()) captures.push_back({name, response});
    }
    std::sort(captures.begin(), captures.end(), [](const Capture& a, const Capture& b) { return a.response.size() < b.response.size(); });
    return captures;
}
