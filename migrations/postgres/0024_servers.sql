-- Processes that serve, or served: where clients reach them, so that commands on the host print that address, and whether
-- they were started without the unlock key.

CREATE TABLE servers (
    replica_id    BYTEA NOT NULL PRIMARY KEY,
    external_url  TEXT NOT NULL,
    -- 1: started locked
    locked        BIGINT NOT NULL,
    started_at    BIGINT NOT NULL
);
