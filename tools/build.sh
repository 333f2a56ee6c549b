# shellcheck shell=bash
# Builds the module; to be sourced after console.sh. Needs $top, the project's folder.

# build DIR TARGET [CMAKE OPTION]...: "all" is the module, the core library and the unit tests.
build() {
    local dir=$1 target=$2
    shift 2
    must "$dir/configure.log" "The build could not be set up." "A package may be too old or missing: tools/packages run --list" \
        configure "$dir" "$@"
    must "$dir/build.log" "The build failed." "An unfinished build from before may be in the way: rm -r ${dir@Q}" \
        env NINJA_STATUS='[%f/%t] ' ninja -C "$dir" -j "$(nproc)" "$target"
}

configure() {
    local dir=$1 launcher=()
    shift
    ! command -v ccache > /dev/null || launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    cmake -S "$top" -B "$dir" -G Ninja ${launcher[@]+"${launcher[@]}"} "$@"
}
