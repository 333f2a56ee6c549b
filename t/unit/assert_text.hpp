// Check keeps pointers to the characters it compares; a std::string that a call gave is gone by then. This one keeps the strings. Include
// it with suite.hpp.
#pragma once

#include <string>

#define assert_text(actual, expected)                                                                                                     \
    do {                                                                                                                                  \
        const auto actual_text_ = std::string(actual);                                                                                    \
        const auto expected_text_ = std::string(expected);                                                                                \
        ck_assert_msg(actual_text_ == expected_text_, "%s is \"%s\", not \"%s\"", #actual, actual_text_.c_str(), expected_text_.c_str()); \
    } while (0)
