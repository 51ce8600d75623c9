-- One row: whether this database is known to be as new as what is remembered outside of it (the anchor). A database that
-- was restored from a backup is older.

CREATE TABLE history (
    one             BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    -- when a process first wrote an anchor; NULL before
    anchored_at     BIGINT,
    -- when a process found this database to be older than its anchor; NULL again after `chancery reconcile`
    rolled_back_at  BIGINT,
    -- why, as a JSON list of sentences
    findings        TEXT NOT NULL,
    -- the highest figures that processes remembered then, in the JSON of the anchor file
    remembered      TEXT NOT NULL
);
INSERT INTO history (one, findings, remembered) VALUES (1, '[]', '');
