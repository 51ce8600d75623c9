-- CA certificates of others above our issuers: a root belongs to the bundle of its domain.
-- Until it is answered, a request of ours for a certificate of another CA holds its key and its slug.
CREATE TABLE anchors (
    domain         TEXT NOT NULL REFERENCES domains (slug),
    fingerprint    BYTEA NOT NULL,
    der            BYTEA NOT NULL,
    not_before     BIGINT NOT NULL,
    not_after      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (domain, fingerprint)
);

CREATE TABLE issuer_requests (
    id             BYTEA NOT NULL PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    domain         TEXT NOT NULL,
    key_id         BYTEA NOT NULL REFERENCES keys (id),
    status_url     TEXT NOT NULL,
    csr            BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
