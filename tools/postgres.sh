# shellcheck shell=bash
# A PostgreSQL of one's own, in a folder, on a unix socket there; Debian's own clusters are left alone. To be sourced after console.sh.
# PostgreSQL refuses to be run by root: for root it runs as the user postgres, who may then also need a right to get into the folder.

# The newest that is installed.
postgres_programs() { find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1; }

reaches() { runuser -u "$1" -- test -x "$2"; }

# as_postgres FOLDER COMMAND...
as_postgres() {
    local folder=$1
    shift
    if [ "$(id -u)" != 0 ]; then
        "$@"
    elif reaches postgres "$folder"; then
        runuser -u postgres -- "$@"
    else
        # The way to the folder is barred (a home of mode 700): into it with root's right to pass, as postgres in all else.
        setpriv --reuid=postgres --regid=postgres --clear-groups --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override -- "$@"
    fi
}

# postgres_create FOLDER USER...: these users of this machine are the database's user matrix_sync; nobody else gets in.
postgres_create() {
    local folder=$1 user
    shift
    [ ! -e "$folder/data/made" ] || return 0
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$folder"
    as_postgres "$folder" rm -rf "$folder/data"
    as_postgres "$folder" "$(postgres_programs)/initdb" -D "$folder/data" -U matrix_sync -E UTF8 --locale=C --auth=reject
    for user in "$@"; do echo "here $user matrix_sync"; done | as_postgres "$folder" tee -a "$folder/data/pg_ident.conf"
    echo 'local all matrix_sync peer map=here' | as_postgres "$folder" tee "$folder/data/pg_hba.conf"
    as_postgres "$folder" touch "$folder/data/made"
}

postgres_start() {
    ! postgres_runs "$1" || return 0
    as_postgres "$1" "$(postgres_programs)/pg_ctl" -D "$1/data" -l "$1/log" -w -t 60 \
        -o "-c listen_addresses= -c unix_socket_directories='$1'" start
}

# postgres_database FOLDER NAME: makes it unless it is there.
postgres_database() {
    local psql=(psql -X -h "$1" -U matrix_sync -d postgres)
    "${psql[@]}" -Atc "SELECT 1 FROM pg_database WHERE datname = '$2'" | grep -q 1 || "${psql[@]}" -c "CREATE DATABASE $2"
}

postgres_runs() { as_postgres "$1" "$(postgres_programs)/pg_ctl" -D "$1/data" status; }

postgres_stop() {
    [ ! -e "$1/data/postmaster.pid" ] || as_postgres "$1" "$(postgres_programs)/pg_ctl" -D "$1/data" -m fast -w stop
}
