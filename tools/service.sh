# shellcheck shell=bash
# What ./quickstart runs: PostgreSQL, a homeserver and nginx with the module, all under $dir. To be sourced after console.sh and postgres.sh.
# Each goes on without a terminal; what runs already and fits is left as it is.

module() { echo "$top/build/ngx_http_matrix_sync_module.so"; }
url() { echo "http://127.0.0.1:$port"; }
homeserver_port() { echo $((port + 1)); }
upstream() { echo "${homeserver:-http://127.0.0.1:$(homeserver_port)}"; }

start_all() {
    nginx_stop
    need_port "$port" nginx
    [ -n "$homeserver" ] || homeserver_fits || need_homeserver_port
    if [ -z "$homeserver" ]; then start_homeserver; else check_homeserver; fi
    start_postgres
    [ -n "$homeserver" ] || wait_for_homeserver
    start_nginx
}

stop_all() {
    step "Stopping what runs in $dir"
    forget_device
    nginx_stop
    homeserver_stop
    postgres_stop "$dir/postgres" > /dev/null
    rm -f "$dir/owner"
}

# --- processes, by the pid they left; a pid that another program has got meanwhile is not ours

runs() {
    local pid
    pid=$(cat "$1" 2> /dev/null) && [ -n "$pid" ] && tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF "$dir"
}

end_process() {
    local file=$1 signal=$2 pid
    runs "$file" || { rm -f "$file"; return 0; }
    pid=$(cat "$file")
    kill "-$signal" "$pid"
    until_true 15 not_there "$pid" || kill -KILL "$pid" 2> /dev/null || true
    rm -f "$file"
}

not_there() { ! kill -0 "$1" 2> /dev/null; }

port_taken() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

need_port() {
    ! port_taken "$1" || fail "Port $1 of 127.0.0.1 is taken, so $2 cannot listen there." \
        "Give another: ./quickstart --port N (N for nginx, N+1 for the homeserver). Who has it: ss -ltnp 'sport = :$1'"
}

# --- PostgreSQL

# Each homeserver has a database of its own.
database() {
    if [ -z "$homeserver" ]; then echo matrix_sync; else echo "matrix_sync_$(printf %s "$homeserver" | md5sum | cut -c1-12)"; fi
}

start_postgres() {
    step "PostgreSQL of its own (in $dir/postgres)"
    must "$dir/logs/postgres.log" "PostgreSQL could not be started." "Its own log is $dir/postgres/log" postgres_ready
}

postgres_ready() {
    local users
    users=$(printf '%s\n' "$(id -un)" "$(worker_user)" | sort -u)
    # shellcheck disable=SC2086  # names of users are words
    postgres_create "$dir/postgres" $users
    postgres_start "$dir/postgres"
    postgres_database "$dir/postgres" "$(database)"
}

# --- the homeserver

start_homeserver() {
    step "A homeserver: Synapse, from Debian sid (in $dir/synapse; 60 MB to fetch at first)"
    must "$dir/logs/synapse-unpack.log" "Synapse could not be fetched." "Is Debian's mirror reachable?" \
        "$top/tools/synapse" --unpack "$dir/synapse"
    ! homeserver_fits || return 0
    homeserver_port > "$dir/synapse/port"
    setsid "$top/tools/synapse" "$dir/synapse" "$(homeserver_port)" > "$dir/logs/synapse.log" 2>&1 < /dev/null &
    echo $! > "$dir/synapse/pid"
}

wait_for_homeserver() {
    must "$dir/logs/synapse-wait.log" "Synapse does not answer." "Its logs are $dir/logs/synapse.log and $dir/synapse/homeserver.log" \
        homeserver_answers
}

# It runs already, on the port that it is to have.
homeserver_fits() { runs "$dir/synapse/pid" && [ "$(cat "$dir/synapse/port")" = "$(homeserver_port)" ]; }

need_homeserver_port() {
    homeserver_stop
    need_port "$(homeserver_port)" "the homeserver"
}

homeserver_answers() {
    echo "waiting for it to answer"
    until_true 120 homeserver_answers_or_gone && versions
}

homeserver_answers_or_gone() { versions || ! runs "$dir/synapse/pid"; }

versions() { curl -sSf --max-time 20 "$(upstream)/_matrix/client/versions"; }

homeserver_stop() { end_process "$dir/synapse/pid" TERM; }

check_homeserver() {
    step "Your homeserver: $homeserver"
    must "$dir/logs/homeserver.log" "$homeserver is no homeserver that answers." \
        "It is the address that clients use, and curl $homeserver/_matrix/client/versions must give JSON." versions_in_json
}

versions_in_json() { versions | jq -e '.versions | length > 0'; }

# --- nginx

# Who nginx's workers are: root's must reach PostgreSQL's socket.
worker_user() {
    if [ "$(id -u)" != 0 ]; then id -un; elif reaches www-data "$dir/postgres"; then echo www-data; else echo root; fi
}

start_nginx() {
    step "nginx with the module, on $(url) (settings: $dir/nginx/nginx.conf)"
    write_nginx_conf
    must "$dir/logs/nginx.log" "nginx could not be started." "Its own log is $dir/nginx/error.log" nginx_command
    until_true 10 port_taken "$port" || fail "nginx does not answer." "Its log is $dir/nginx/error.log"
}

nginx_command() { "$(nginx_program)" -p "$dir/nginx/" -c "$dir/nginx/nginx.conf" -e "$dir/nginx/error.log" "$@"; }
nginx_program() { PATH=$PATH:/usr/sbin command -v nginx; }
nginx_runs() { runs "$dir/nginx/nginx.pid"; }
nginx_stop() { end_process "$dir/nginx/nginx.pid" QUIT; }

write_nginx_conf() {
    local as=''
    [ "$(id -u)" != 0 ] || as="user $(worker_user);"
    cat > "$dir/nginx/nginx.conf" <<CONF
load_module $(module);
$as
worker_processes 2;
pid $dir/nginx/nginx.pid;
error_log $dir/nginx/error.log notice;
events { worker_connections 1024; }
http {
    access_log $dir/nginx/access.log;
    client_body_temp_path $dir/nginx/client_body;
    proxy_temp_path $dir/nginx/proxy;
    fastcgi_temp_path $dir/nginx/fastcgi;
    uwsgi_temp_path $dir/nginx/uwsgi;
    scgi_temp_path $dir/nginx/scgi;

    matrix_sync_database "host=$dir/postgres user=matrix_sync dbname=$(database)";

    server {
        listen 127.0.0.1:$port;
        client_max_body_size 50m;
        proxy_http_version 1.1;
        proxy_ssl_server_name on;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 5;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;

        location = /_matrix/client/v3/sync {
            $(poll_directive)
            proxy_pass $(upstream);
            proxy_read_timeout 120s;
        }
        location /_matrix { proxy_pass $(upstream); }
        location = /status { matrix_sync_status; }
        $([ -z "$homeserver" ] || poll_location)
    }
}
CONF
}

poll_directive() {
    if [ -z "$homeserver" ]; then echo "matrix_sync $(upstream);"; else echo "matrix_sync_poll_location @poll;"; fi
}

# A homeserver somewhere else goes by its own name, not by the one that the client used for this nginx.
poll_location() {
    cat <<CONF
location @poll {
            proxy_pass $(upstream);
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Host \$proxy_host;
            proxy_set_header Connection "";
            proxy_read_timeout 15m;
            proxy_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 4 64k;
            proxy_busy_buffers_size 128k;
            proxy_ignore_headers X-Accel-Redirect X-Accel-Buffering;
            access_log off;
        }
CONF
}
