// Check keeps pointers to the characters it compares; a std::string that a call gave is gone by then. This one keeps the strings. Include
// it with suite.hpp.
#pragma once

#include <string>

#define assert_text(actual, expected)                                                                                                     \
    do {                                                                                                                                  \
        const std::string actual_text_ = (actual);                                                                                        \
        const std::string expected_text_ = (expected);                                                                                    \
        ck_assert_msg(actual_text_ == expected_text_, "%s is \"%s\", not \"%s\"", #actual, actual_text_.c_str(), expected_text_.c_str()); \
    } while (0)
