R"sql(
-- Whoever writes one need not know the session's others.
ALTER TABLE snapshot ALTER COLUMN number TYPE bigint;
ALTER TABLE snapshot ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;
PERFORM setval(pg_get_serial_sequence('snapshot', 'number'), coalesce(max(number), 0) + 1, false) FROM snapshot;
)sql"
