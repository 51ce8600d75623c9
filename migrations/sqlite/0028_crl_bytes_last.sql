-- The bytes of a CRL become the last column of their row. Columns behind them were reached through every page of a list of
-- many megabytes, at each look for the CRL in force, and a record whose bytes come last is written without a copy of them
-- in memory. Names and types stay as they are.
CREATE TABLE crls_anew (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    -- 16 bytes, big endian: epoch << 64 | counter; or 20 bytes
    number         BYTEA NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    der            BYTEA NOT NULL,
    UNIQUE (issuer_id, number)
);
INSERT INTO crls_anew (id, issuer_id, number, this_update, next_update, entries, created_at, der)
    SELECT id, issuer_id, number, this_update, next_update, entries, created_at, der FROM crls;
DROP TABLE crls;
ALTER TABLE crls_anew RENAME TO crls;
CREATE INDEX crls_current ON crls (issuer_id, this_update);

CREATE TABLE crls_ahead_anew (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    number         BYTEA NOT NULL,
    -- from when on it is in force: its thisUpdate and the backdate
    starts_at      BIGINT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    sealed         BYTEA NOT NULL,
    UNIQUE (issuer_id, number)
);
INSERT INTO crls_ahead_anew (id, issuer_id, number, starts_at, this_update, next_update, entries, created_at, sealed)
    SELECT id, issuer_id, number, starts_at, this_update, next_update, entries, created_at, sealed FROM crls_ahead;
DROP TABLE crls_ahead;
ALTER TABLE crls_ahead_anew RENAME TO crls_ahead;

CREATE TABLE domain_crls_anew (
    domain         TEXT NOT NULL PRIMARY KEY REFERENCES domains (slug),
    counter        BIGINT NOT NULL,
    -- the issuer that signed it
    issuer_id      BYTEA NOT NULL,
    -- of which revocations it was made
    content        TEXT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    der            BYTEA NOT NULL
);
INSERT INTO domain_crls_anew (domain, counter, issuer_id, content, this_update, next_update, entries, created_at, der)
    SELECT domain, counter, issuer_id, content, this_update, next_update, entries, created_at, der FROM domain_crls;
DROP TABLE domain_crls;
ALTER TABLE domain_crls_anew RENAME TO domain_crls;

CREATE TABLE domain_crls_ahead_anew (
    domain         TEXT NOT NULL PRIMARY KEY REFERENCES domains (slug),
    -- that of domain_crls, of which it is the highest number; outdated when another one stands there
    counter        BIGINT NOT NULL,
    -- from when on it is in force: its thisUpdate and the backdate
    starts_at      BIGINT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    sealed         BYTEA NOT NULL
);
INSERT INTO domain_crls_ahead_anew (domain, counter, starts_at, this_update, next_update, entries, created_at, sealed)
    SELECT domain, counter, starts_at, this_update, next_update, entries, created_at, sealed FROM domain_crls_ahead;
DROP TABLE domain_crls_ahead;
ALTER TABLE domain_crls_ahead_anew RENAME TO domain_crls_ahead;
