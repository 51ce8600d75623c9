-- Clocks of the running processes as offsets from the database's clock, in microseconds: one row a process, written
-- every second. The reference time is the median of them and of the database's clock.

CREATE TABLE replica_clocks (
    replica_id     BYTEA NOT NULL PRIMARY KEY,
    offset_micros  BIGINT NOT NULL,
    -- the database's time when the offset was measured
    measured_at    BIGINT NOT NULL
);

-- The newest time that this installation has recorded: a clock that is behind it is wrong.
CREATE TABLE clock_mark (
    id             BIGINT NOT NULL PRIMARY KEY,
    recorded_at    BIGINT NOT NULL,
    -- how often an operator declared a machine's clock to be right
    trusted        BIGINT NOT NULL
);
INSERT INTO clock_mark (id, recorded_at, trusted) VALUES (1, 0, 0);
