-- The newest write by which each running process proved that the database takes writes. A process whose last write
-- failed for want of space proves it with some padding, which needs new space.

CREATE TABLE write_proofs (
    replica_id     BYTEA NOT NULL PRIMARY KEY,
    proved_at      BIGINT NOT NULL,
    padding        BYTEA
);
