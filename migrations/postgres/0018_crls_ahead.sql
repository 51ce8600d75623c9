-- CRLs whose time has not come, sealed under the status key: each one says for its time what was revoked when it was
-- signed, so nobody who reads the database may have it before.
CREATE TABLE crls_ahead (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    number         BYTEA NOT NULL,
    -- from when on it is in force: its thisUpdate and the backdate
    starts_at      BIGINT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    sealed         BYTEA NOT NULL,
    created_at     BIGINT NOT NULL,
    UNIQUE (issuer_id, number)
);
-- a large list is read in pieces, and compressing it costs more than it saves
ALTER TABLE crls ALTER COLUMN der SET STORAGE EXTERNAL;
ALTER TABLE crls_ahead ALTER COLUMN sealed SET STORAGE EXTERNAL;
