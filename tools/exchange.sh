# shellcheck shell=bash
# Accounts, rooms and one exchange of sync v3, for ./quickstart. To be sourced after service.sh.
# Access tokens and answers stay in a folder that only its owner reads: NAME.token holds a token, NAME.header the HTTP header with it.


show_exchange() {
    local request
    if [ -z "$homeserver" ]; then prepare_world; else prepare_account; fi
    request=$(cat "$account/request.json")
    if [ -z "$homeserver" ]; then
        step "alice asks for four streams, while bob types and has sent her a to-device message"
    else
        step "You ask for four streams"
    fi
    ask "$request"
    print_exchange "$request"
    print_commands "$request"
    print_client
}

name() { if [ -z "$homeserver" ]; then echo alice; else echo you; fi; }

# --- the client-server API: api NAME METHOD PATH [BODY] gives the answer, and fails where the homeserver refuses

api() {
    local who=$1 method=$2 path=$3 body=${4:-}
    curl -sS --max-time 60 --fail-with-body -X "$method" -H "@$account/$who.header" ${body:+-H 'Content-Type: application/json' --data-binary "$body"} \
        "$(upstream)$path"
}

escape() { jq -rn --arg text "$1" '$text | @uri'; }

keep_token() {
    local who=$1 token=$2
    printf '%s' "$token" > "$account/$who.token"
    printf 'Authorization: Bearer %s' "$token" > "$account/$who.header"
}

# log_in NAME USER PASSWORD: a new device; false when the homeserver refuses.
log_in() {
    local answer
    answer=$(user=$2 password=$3 jq -n '{type: "m.login.password", identifier: {type: "m.id.user", user: env.user}, password: env.password,
        initial_device_display_name: "sync v3 quickstart"}' |
        curl -sS --max-time 60 -H 'Content-Type: application/json' --data-binary @- "$(upstream)/_matrix/client/v3/login") || return 1
    jq -e .access_token <<< "$answer" > /dev/null || { jq -r '.error // "no answer"' <<< "$answer" > "$dir/logs/login.log"; return 1; }
    keep_token "$1" "$(jq -r .access_token <<< "$answer")"
    jq -r .user_id <<< "$answer" > "$account/$1.user"
}

# --- a small world on the homeserver that ./quickstart started

prepare_world() {
    local lounge typist
    step "Two users, alice and bob, and a few rooms"
    log_in_or_register alice
    log_in_or_register bob
    lounge=$(room alice lounge '{"name": "Lounge", "topic": "Everybody is here", "preset": "public_chat"}' \
        alice "Is anybody here?" bob "Yes, and I have brought cake." alice "What kind?")
    room alice kitchen '{"name": "Kitchen", "preset": "public_chat"}' bob "The kettle is on." bob "alice: with milk?" > /dev/null
    room alice attic '{"name": "Attic", "topic": "Quiet", "preset": "private_chat",
        "initial_state": [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]}' > /dev/null
    room bob cellar '{"name": "Cellar", "preset": "private_chat", "invite": ["@alice:localhost"]}' > /dev/null
    api bob POST "/_matrix/client/v3/join/$(escape "$lounge")" '{}' > /dev/null
    typist=$(cat "$account/bob.user")
    api alice PUT "/_matrix/client/v3/user/$(escape "$(cat "$account/alice.user")")/account_data/org.example.colour" '{"colour": "green"}' > /dev/null
    api bob PUT "/_matrix/client/v3/sendToDevice/org.example.hello/$$" \
        "$(jq -n --arg user "$(cat "$account/alice.user")" '{messages: {($user): {"*": {hello: "from bob"}}}}')" > /dev/null
    echo "/_matrix/client/v3/rooms/$(escape "$lounge")/typing/$(escape "$typist")" > "$account/typing.path"
    bob_types
    request_for "$lounge"
}

bob_types() { api bob PUT "$(cat "$account/typing.path")" '{"typing": true, "timeout": 60000}' > /dev/null; }

log_in_or_register() {
    log_in "$1" "$1" "password of $1" && return
    jq -n --arg user "$1" '{username: $user, password: "password of \($user)", inhibit_login: true, auth: {type: "m.login.dummy"}}' |
        curl -sS -o "$dir/logs/register.log" --max-time 60 -H 'Content-Type: application/json' --data-binary @- \
            "$(upstream)/_matrix/client/v3/register"
    log_in "$1" "$1" "password of $1" || fail "The homeserver does not let $1 in: $(cat "$dir/logs/login.log")" \
        "If the folder is broken, begin anew: ./quickstart --stop, rm -r ${dir@Q}, ./quickstart"
}

# room OWNER NAME SETTINGS [WHO MESSAGE]...: its ID; made, and these things said in it, when there is no such room yet.
room() {
    local owner=$1 alias="#$2:localhost" known
    if known=$(api "$owner" GET "/_matrix/client/v3/directory/room/$(escape "$alias")" 2> /dev/null); then
        jq -r .room_id <<< "$known"
        return
    fi
    known=$(api "$owner" POST /_matrix/client/v3/createRoom "$(jq --arg name "$2" '. + {room_alias_name: $name}' <<< "$3")" | jq -r .room_id)
    shift 3
    while [ $# -gt 0 ]; do
        [ "$1" = "$owner" ] || api "$1" POST "/_matrix/client/v3/join/$(escape "$known")" '{}' > /dev/null
        message "$1" "$known" "$2"
        shift 2
    done
    echo "$known"
}

messages=0
# message WHO ROOM TEXT
message() {
    messages=$((messages + 1))
    api "$1" PUT "$(message_path "$2")/$$-$messages" "$(jq -n --arg body "$3" '{msgtype: "m.text", body: $body}')" > /dev/null
}

message_path() { echo "/_matrix/client/v3/rooms/$(escape "$1")/send/m.room.message"; }

# --- an account of somebody's own

prepare_account() {
    local room
    step "Your account"
    if [ -n "$token" ]; then
        keep_token you "$token"
    else
        ask_for_account
        log_in you "$user" "$password" || fail "The homeserver does not let you in: $(cat "$dir/logs/login.log")" \
            "Without a login by password (single sign-on), give an access token: --token TOKEN"
        echo "$homeserver" > "$account/own-device"
    fi
    api you GET /_matrix/client/v3/account/whoami > "$dir/logs/whoami.log" 2>&1 ||
        fail "The homeserver does not take the access token: $(cat "$dir/logs/whoami.log")"
    room=$(api you GET /_matrix/client/v3/joined_rooms | jq -r '.joined_rooms[0] // "!none:example.org"')
    request_for "$room"
}

ask_for_account() {
    if [ -z "$user" ]; then
        [ -t 0 ] || fail "Whose account? Give --user NAME and --password PASSWORD, or --token TOKEN."
        read -rp '    Matrix user (@you:example.org): ' user
    fi
    if [ -z "$password" ]; then
        [ -t 0 ] || fail "No password: give --password PASSWORD, or set MATRIX_PASSWORD."
        read -rsp '    Password: ' password
        printf '\n'
    fi
}

# The device made for this ends with it.
forget_device() {
    [ -e "$account/own-device" ] || return 0
    [ -n "$homeserver" ] || homeserver=$(cat "$account/own-device")
    api you POST /_matrix/client/v3/logout '{}' > /dev/null 2>&1 || say "(The device of this trial could not be logged out.)"
    rm -f "$account/own-device" "$account"/you.*
}

# --- the exchange

request_for() {
    jq -cn --arg room "$1" '{typing: {room_id: $room}, to_device: {}, account_data: {}, e2ee: {}}' > "$account/request.json"
}

# A first request of a device waits for the first poll of the homeserver; for a big account that takes a while.
ask() {
    local status
    status=$(curl -sS --max-time 300 -o "$account/answer.raw" -w '%{http_code}' -X POST -H "@$account/$(name).header" -H 'Content-Type: application/json' \
        --data-binary "$1" "$(url)/_matrix/client/v3/sync") || fail "nginx gave no answer." "Its log: $dir/nginx/error.log"
    [ "$status" = 200 ] || fail "Sync v3 answered $status: $(head -c 500 "$account/answer.raw")" "nginx's log: $dir/nginx/error.log"
    jq . "$account/answer.raw" > "$account/answer.json"
}

print_exchange() {
    local lines
    printf '\nPOST %s/_matrix/client/v3/sync\nAuthorization: Bearer (in %s)\n' "$(url)" "$account/$(name).token"
    jq . <<< "$1"
    printf '\n200 OK\n'
    shorten > "$account/shown.json"
    lines=$(wc -l < "$account/shown.json")
    head -n 120 "$account/shown.json"
    [ "$lines" -le 120 ] || say "… $((lines - 120)) lines more"
    say "(The whole answer is in $account/answer.json)"
    printf '\n'
}

# Without the long rules that every account has.
shorten() {
    jq 'if .account_data then (.account_data.events[] | select(.type == "m.push_rules") | .content) = "(left out here)" else . end' \
        "$account/answer.json"
}

print_commands() {
    local sync header
    sync="$(url)/_matrix/client/v3/sync"
    header="-H \"Authorization: Bearer \$(cat $account/$(name).token)\""
    step "The same again:"
    printf '%s\n' "curl -sX POST '$sync' $header -d '$1' | jq ."
    step "What is new since then, waiting up to 30 seconds for it (and so on with each answer's \"next\"):"
    printf '%s\n' "curl -sX POST '$sync?timeout=30000&since=$(jq -r '.next | @uri' "$account/answer.json")' $header | jq ."
    [ -n "$homeserver" ] || {
        say "and meanwhile, from another terminal, bob stops typing:"
        printf '%s\n' "curl -sX PUT '$(url)$(cat "$account/typing.path")' -H \"Authorization: Bearer \$(cat $account/bob.token)\" -d '{\"typing\": false}'"
    }
}

print_client() {
    local path
    step "Next, in another terminal: your rooms as a small client shows them (examples/rooms.py; a number opens a room, q ends)"
    printf '%s\n' "MATRIX_TOKEN=\$(cat $account/$(name).token) $(printf %q "$top/examples/rooms.py") --url $(url)"
    [ -n "$homeserver" ] || {
        path=$(message_path "$(jq -r .typing.room_id "$account/request.json")")
        say "and meanwhile bob has something to say:"
        printf '%s\n' "curl -sX PUT '$(url)$path/'\$(date +%s%N) -H \"Authorization: Bearer \$(cat $account/bob.token)\" -d '{\"msgtype\": \"m.text\", \"body\": \"Chocolate.\"}'"
    }
}
