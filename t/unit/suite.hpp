// A Check suite as a program: `MATRIX_SYNC_SUITE(name, test_a, test_b)` at the end of a test file is its main().
#pragma once

#include <check.h>

#include <initializer_list>

inline int run_suite(const char* name, std::initializer_list<const TTest*> tests) {
    Suite* suite = suite_create(name);
    TCase* cases = tcase_create(name);
    tcase_set_timeout(cases, 300);
    for (const TTest* test : tests) tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    SRunner* runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#define MATRIX_SYNC_SUITE(name, ...)           \
    int main() {                               \
        return run_suite(name, {__VA_ARGS__}); \
    }
