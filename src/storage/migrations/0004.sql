R"sql(
-- To compress 3,000 numbers takes 10 ms, to write them as they are a quarter of one.
ALTER TABLE snapshot ALTER COLUMN rooms SET STORAGE EXTERNAL;

-- True of every row, and named by those who want the index only: while a table is empty, another statement's plan may take it for as good as
-- the primary key, and keeps it.
DROP INDEX device_room_seq, member_since;
CREATE INDEX device_room_seq ON device_room (device, seq) WHERE seq > 0;
CREATE INDEX member_since ON member (room, since) WHERE since > 0;
)sql"
