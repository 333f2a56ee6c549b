R"sql(
-- One homeserver's sync v3 (ARCHITECTURE.md, "What is stored"). Runs in the schema matrix_sync.

-- Whose database this is: the server name of its first user.
CREATE TABLE server (name text NOT NULL, sole boolean PRIMARY KEY DEFAULT true CHECK (sole));

-- nginx workers; one whose time is over is dead, and its devices are anybody's.
CREATE TABLE worker (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    alive_until timestamptz NOT NULL
);

CREATE TABLE device (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    owner bigint,                               -- the worker that polls; no reference: a dead one's row goes
    epoch bigint NOT NULL DEFAULT 0,            -- counts the owners
    seq bigint NOT NULL DEFAULT 0,              -- the log's last number; upper 32 bits: the epoch
    since text,                                 -- classic token to go on from; null until the first poll has ended
    since_seq bigint NOT NULL DEFAULT 0,        -- seq when since last advanced
    one_time_keys_count text,
    unused_fallback_key_types text,
    keys_seq bigint NOT NULL DEFAULT 0,
    to_device_acked bigint NOT NULL DEFAULT 0,  -- the furthest that any session has acknowledged
    e2ee_acked bigint NOT NULL DEFAULT 0,
    used timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, device_id)
);

CREATE TABLE room (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id text NOT NULL UNIQUE,
    version text                                -- of m.room.create
);

-- Events, one row whoever polled it first.
CREATE TABLE event (
    ref bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    room bigint NOT NULL,
    type text NOT NULL,
    state_key text,
    sender text NOT NULL,
    origin_server_ts bigint NOT NULL,
    body bytea NOT NULL,                        -- JSON; bytes, so that nothing a server sends can be refused
    redacted boolean NOT NULL DEFAULT false     -- body is what the redaction left
);

-- Redactions by target, for events that come after what redacts them.
CREATE TABLE redaction (
    room bigint NOT NULL,
    target text NOT NULL,
    ref bigint NOT NULL,                        -- the redaction itself
    PRIMARY KEY (room, target)
);

-- Immutable sets of state events, one per (type, state key), members not among them.
CREATE TABLE room_state (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room bigint NOT NULL,
    hash bytea NOT NULL,                        -- SHA-256 of the sorted refs of the whole set
    parent bigint,                              -- null: refs is the whole set
    refs bigint[] NOT NULL,                     -- sorted; with a parent: what the parent lacks
    gone bigint[],                              -- with a parent: what the parent has and this has not
    UNIQUE (room, hash)
);

-- What each device was told about rooms, in the order it was told.
CREATE TABLE log (
    device bigint NOT NULL,
    seq bigint NOT NULL,
    room bigint NOT NULL,
    section smallint NOT NULL,                  -- 1 join, 2 leave, 3 invite, 4 knock
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    events bigint[] NOT NULL,
    transaction_ids text[],                     -- as many as events; null: none of them was sent by this device
    gap boolean NOT NULL,
    limited boolean NOT NULL,
    prev_batch text,
    next_batch text NOT NULL,
    state bigint,
    typing text[],                              -- null: the poll did not say
    PRIMARY KEY (device, seq)
);
CREATE INDEX log_room ON log (device, room, seq DESC);
CREATE INDEX log_typing ON log (device, at) WHERE typing IS NOT NULL OR section <> 1;

-- Rooms that could not be processed, with what was sent of them, oldest part first.
CREATE TABLE set_aside (
    device bigint NOT NULL,
    room_id text NOT NULL,
    part bigint NOT NULL,                       -- a number of the device's log
    section smallint NOT NULL,
    since text,                                 -- the answer's, null for a first poll
    raw bytea NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (device, room_id, part)
);

CREATE TABLE to_device (
    device bigint NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (device, seq)
);

CREATE TABLE device_list (
    device bigint NOT NULL,
    user_id text NOT NULL,
    seq bigint NOT NULL,
    gone boolean NOT NULL,                      -- in `left`; else in `changed`
    PRIMARY KEY (device, user_id)
);
CREATE INDEX device_list_seq ON device_list (device, seq);

CREATE TABLE account_data (
    device bigint NOT NULL,
    type text NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (device, type)
);

CREATE TABLE session (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    device bigint NOT NULL,
    to_device bigint,                           -- acknowledged; null: does not ask for the stream
    e2ee bigint,
    used timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX session_device ON session (device);
CREATE INDEX session_used ON session (used);

-- What a session asked for; a row never changes.
CREATE TABLE filter (
    session uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    number integer NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (session, number)
);

CREATE TABLE token (
    hash bytea PRIMARY KEY,                     -- SHA-256 of an access token
    device bigint NOT NULL,
    verified timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX token_device ON token (device);
)sql"
