-- Renewal windows that operators move (RFC 9773): one row for many certificates, matched when a client asks.

CREATE TABLE renewal_windows (
    id             BYTEA NOT NULL PRIMARY KEY,
    -- JSON: which certificates
    filter         TEXT NOT NULL,
    issued_before  BIGINT NOT NULL,
    starts_at      BIGINT NOT NULL,
    ends_at        BIGINT NOT NULL,
    reason         TEXT NOT NULL,
    explanation_url TEXT,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);

INSERT INTO versions (topic, version) VALUES ('renewals', 0);
