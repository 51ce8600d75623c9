-- One indirect CRL of a trust domain: the list in force, and the counter of its numbers.
CREATE TABLE domain_crls (
    domain         TEXT NOT NULL PRIMARY KEY REFERENCES domains (slug),
    counter        BIGINT NOT NULL,
    -- the issuer that signed it
    issuer_id      BYTEA NOT NULL,
    -- of which revocations it was made
    content        TEXT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    der            BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);

-- CRLs of CAs elsewhere above our issuers, by the SHA-256 of the CA's public key.
CREATE TABLE foreign_crls (
    ca             BYTEA NOT NULL PRIMARY KEY,
    -- where it was fetched; empty when it was given by hand
    url            TEXT NOT NULL,
    -- empty until one was read
    der            BYTEA NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    tried_at       BIGINT NOT NULL,
    -- why the last try failed; empty when it did not
    failure        TEXT NOT NULL
);
