# shellcheck shell=bash
# Checks of the source itself, each counted as one test; to be sourced by ./test.

sources() { find src include t/unit t/fuzz -name '*.[ch]pp' | sort; }

# What differs from the last commit, or from where this branch left the main one.
changed_sources() {
    local base
    base=$(git merge-base HEAD origin/HEAD 2>/dev/null || git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
    [ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse --verify --quiet HEAD^ || echo HEAD)
    { git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } | sort -u | grep -E '^(src|include|t/unit)/.*\.[ch]pp$' || true
}

# checked NAME LOG COMMAND...
checked() {
    local name=$1 log=$2
    shift 2
    if logged "$log" "$@"; then
        passed=$((passed + 1))
        say "$name: clean"
    else
        failed=$((failed + 1))
        say "$name: not clean ($log)"
        grep -vE '^[0-9]+ warnings? generated|^Suppressed|^Use -header' "$log" | tail -n 60 || true
    fi
}

run_checks() {
    step "Checks of the source"
    if command -v clang-format > /dev/null; then
        checked "clang-format" build/clang-format.log check_format
    else
        say "clang-format is not installed: not checked"
    fi
    checked "co_await in conditional expressions" build/co_await.log check_co_await
    if command -v shellcheck > /dev/null; then checked "shellcheck" build/shellcheck.log shellcheck -x quickstart test .ci/run t/chaos tools/packages tools/synapse; fi
    [ "$1" = all ] || check_tidy changed
}

# GCC 12 destroys the temporaries of such an expression twice, or not at all.
check_co_await() { ! grep -rnE '(\?|&&|\|\|) *!?\(*co_await|: co_await|co_await [^;]*(&&|\|\|)' src include; }

check_format() { sources | xargs -r clang-format --dry-run --Werror; }

# clang-tidy reads the flags of a build without precompiled headers: clang cannot read GCC's. The fuzz targets are no part of it.
check_tidy() {
    local list
    command -v clang-tidy > /dev/null || { say "clang-tidy is not installed: not checked"; return; }
    if [ "$1" = all ]; then list=$(sources | grep '\.cpp$' | grep -v '^t/fuzz/'); else list=$(changed_sources | grep '\.cpp$' || true); fi
    [ -n "$list" ] || { say "clang-tidy: no file of C++ has changed"; return; }
    must build/configure-tidy.log "The build could not be set up." "" configure "$top/build/tidy" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DCMAKE_UNITY_BUILD=OFF
    checked "clang-tidy on $(wc -l <<< "$list") files" build/clang-tidy.log tidy "$list"
}

tidy() { xargs -n 1 -P "$(nproc)" clang-tidy --quiet -p build/tidy <<< "$1"; }
