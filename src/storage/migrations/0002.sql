R"sql(
-- Rooms as each device sees them, their members, and the order of pages (ARCHITECTURE.md, "What is stored").

-- What devices were told of rooms lacks what is kept from now on: they are told anew.
TRUNCATE log, room_state, set_aside;
UPDATE device SET since = NULL;
UPDATE room SET version = NULL;
DELETE FROM session;                            -- what changed of device lists meanwhile is not told by a first poll

ALTER TABLE room ADD COLUMN type text;                            -- of m.room.create

-- What an entry holds, so that most deltas need not look.
ALTER TABLE log ADD COLUMN state_changed boolean NOT NULL DEFAULT true;
ALTER TABLE log ADD COLUMN members boolean NOT NULL DEFAULT true; -- a member event, or a gap that may hide one
ALTER TABLE log ADD COLUMN redacts boolean NOT NULL DEFAULT true; -- a redaction

-- The state events that names are made of: m.room.name, m.room.canonical_alias, m.room.avatar, m.room.encryption; 0 where there is none.
ALTER TABLE room_state ADD COLUMN heads bigint[] NOT NULL;

-- The newest that a device was told of a room: each *_seq is the place in its log where that last changed.
CREATE TABLE device_room (
    device bigint NOT NULL,
    room bigint NOT NULL,
    section smallint NOT NULL,
    seq bigint NOT NULL,                        -- the newest of all changes but who types
    entered bigint NOT NULL,                    -- where the present section began
    listed_seq bigint NOT NULL,                 -- the newest change that a room list shows
    members_seq bigint NOT NULL,                -- of a member event, a gap, or power levels
    state_seq bigint NOT NULL,
    direct_seq bigint NOT NULL,
    tags_seq bigint NOT NULL,
    summary_seq bigint NOT NULL,
    counts_seq bigint NOT NULL,
    receipts_seq bigint NOT NULL,
    account_data_seq bigint NOT NULL,
    state bigint NOT NULL,                      -- of the newest entry; 0: none
    timestamp bigint NOT NULL,                  -- milliseconds: of the newest event
    banned boolean NOT NULL,                    -- section leave: by a ban
    notifications text NOT NULL,                -- JSON objects, as the homeserver last sent them; empty: never
    thread_notifications text NOT NULL,
    summary text NOT NULL,                      -- its newest members laid over the older ones
    stripped bytea NOT NULL,                    -- JSON array: invite_state or knock_state
    direct boolean NOT NULL,                    -- in m.direct, or an invite that says so
    tags text NOT NULL,                         -- JSON object: of m.tag
    marked_unread boolean NOT NULL,
    PRIMARY KEY (device, room)
) WITH (fillfactor = 80);
CREATE INDEX device_room_seq ON device_room (device, seq);

CREATE TABLE receipt (
    device bigint NOT NULL,
    room bigint NOT NULL,
    user_id text NOT NULL,
    type text NOT NULL,
    thread text NOT NULL,                       -- empty: of no thread
    event_id text NOT NULL,
    seq bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (device, room, user_id, type, thread)
);
CREATE INDEX receipt_seq ON receipt (device, room, seq);

CREATE TABLE room_account_data (
    device bigint NOT NULL,
    room bigint NOT NULL,
    type text NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (device, room, type)
);

-- A room's members, one list for all devices: the newest known, each row valid for an interval of the list's versions.
-- Times are microseconds since 1970 by PostgreSQL's clock, 0 before everything: they are only ever compared with each other.
CREATE TABLE member_list (
    room bigint PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    doubt bigint NOT NULL DEFAULT 0,            -- changes up to here may be missing
    fetched bigint NOT NULL DEFAULT 0           -- when the newest whole list was asked for
) WITH (fillfactor = 80);

CREATE TABLE member (
    room bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    since bigint NOT NULL,                      -- the first version of the list that has this row
    until bigint,                               -- the first that has it no more; null: the newest
    ref bigint NOT NULL,
    membership smallint NOT NULL,               -- 1 join, 2 invite, 3 knock, 4 leave, 5 ban
    sort_name text COLLATE "C" NOT NULL,
    displayname text,
    avatar_url text,
    asked bigint NOT NULL,                      -- between these, the homeserver said that this is the newest
    answered bigint NOT NULL,
    earlier bigint[] NOT NULL,                  -- refs of events that came before this one
    PRIMARY KEY (room, user_id, since)
);
CREATE INDEX member_order ON member (room, membership, sort_name, user_id, since);
CREATE INDEX member_since ON member (room, since);
CREATE INDEX member_until ON member (room, until) WHERE until IS NOT NULL;

-- The order in which a first page was made; a row never changes.
CREATE TABLE snapshot (
    session uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    number integer NOT NULL,
    stream smallint NOT NULL,                   -- 1 room_members, 2 room_list
    params text NOT NULL,
    count bigint NOT NULL,
    rooms bigint[] NOT NULL,                    -- room_list: in their order
    room bigint NOT NULL,                       -- room_members, as the next three; 0 where there is none
    version bigint NOT NULL,                    -- of the member list
    power_levels bigint NOT NULL,               -- refs
    creation bigint NOT NULL,
    PRIMARY KEY (session, number)
);
)sql"
