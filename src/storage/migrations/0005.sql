R"sql(
-- A page that a crash or a failover loses is asked for again from the first one on: not worth 24 kB of WAL for the list of 3,000 rooms, nor
-- to be copied now.
TRUNCATE snapshot;
ALTER TABLE snapshot SET UNLOGGED;
)sql"
