# shellcheck shell=bash
# What the commands say and how they run long steps; to be sourced. Everything long goes to a log; the person sees one line that moves.

step() { printf '==> %s\n' "$*"; }
say() { printf '    %s\n' "$*"; }

# fail WHAT [WHAT TO DO]...: says why and ends.
fail() {
    printf '\n!!! %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

# The newest line of a log, short enough for a line of the terminal.
last_line() { tail -c 400 "$1" 2>/dev/null | tr '\r\t' '\n ' | grep -v '^ *$' | tail -n 1 | cut -c1-90; }

# One line that is written over on a terminal; elsewhere a line every 15 seconds.
show_progress() {
    local seconds=$1 text=$2
    if [ -t 1 ]; then
        printf '\r\033[K    %3d s  %s' "$seconds" "$text"
    elif [ $((seconds % 15)) -eq 0 ]; then
        printf '    %3d s  %s\n' "$seconds" "$text"
    fi
}

job=
# Ends what is running in logged, for whoever is interrupted there.
stop_job() { [ -z "$job" ] || kill -- "-$job" 2> /dev/null || true; }

# logged LOG COMMAND...: runs it without input, its output in LOG, and shows how it goes. The result is the command's.
logged() {
    local log=$1 started=$SECONDS status=0
    shift
    mkdir -p "$(dirname "$log")"
    set -m # a process group of its own, for stop_job
    "$@" > "$log" 2>&1 < /dev/null &
    job=$!
    set +m
    while kill -0 "$job" 2>/dev/null; do
        [ "$SECONDS" -eq "$started" ] || show_progress $((SECONDS - started)) "$(last_line "$log")"
        sleep 1 &
        wait -n "$job" $! 2>/dev/null || true
    done
    wait "$job" || status=$?
    job=
    [ ! -t 1 ] || printf '\r\033[K'
    return "$status"
}

# must LOG WHAT HINT COMMAND...: as logged; a failure ends everything, with the end of the log and what to do.
must() {
    local log=$1 what=$2 hint=$3
    shift 3
    logged "$log" "$@" && return
    printf '\n--- the last lines of %s\n' "$log" >&2
    tail -n 25 "$log" >&2
    fail "$what" "$hint" "The whole log: $log"
}

# until_true SECONDS COMMAND...: waits for a condition.
until_true() {
    local ends=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$ends" ] || return 1
        sleep 0.1
    done
}
