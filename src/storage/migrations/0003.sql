R"sql(
-- What nobody can ask for any more is deleted (ARCHITECTURE.md, "Pruning").

ALTER TABLE session ADD COLUMN reach bigint NOT NULL DEFAULT 0;      -- what its clients can still ask of the log comes after this
ALTER TABLE device ADD COLUMN pruned bigint NOT NULL DEFAULT 0;      -- up to here the log may lack entries

-- Nothing points to it any more, or it had not when it was last looked at: who wants to point to it takes this off first.
ALTER TABLE room ADD COLUMN unused boolean NOT NULL DEFAULT false;
ALTER TABLE room_state ADD COLUMN unused boolean NOT NULL DEFAULT false;
ALTER TABLE event ADD COLUMN unused boolean NOT NULL DEFAULT false;

-- 0: swept; 1: something that pointed into the room has gone since; 2: is being swept, or that was broken off.
ALTER TABLE room ADD COLUMN sweep smallint NOT NULL DEFAULT 1;
ALTER TABLE room ADD COLUMN swept timestamptz NOT NULL DEFAULT now(); -- begun
ALTER TABLE member_list ADD COLUMN swept bigint NOT NULL DEFAULT 0;   -- version when the room was last swept

-- The room first: what points into a room is found by it.
DROP INDEX log_room;
CREATE INDEX log_room ON log (room, device, seq DESC);
CREATE INDEX event_room ON event (room);
CREATE INDEX snapshot_room ON snapshot (room) WHERE room <> 0;
CREATE INDEX room_sweep ON room (swept) WHERE sweep > 0;
CREATE INDEX device_room_left ON device_room (device) WHERE section = 2;

-- One worker prunes at a time.
CREATE TABLE pruning (free_at timestamptz NOT NULL DEFAULT now(), sole boolean PRIMARY KEY DEFAULT true CHECK (sole));
INSERT INTO pruning DEFAULT VALUES;
)sql"
