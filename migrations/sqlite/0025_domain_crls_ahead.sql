-- The list of a trust domain for the time that a server is locked: sealed under the status key, like every CRL whose time
-- has not come.
CREATE TABLE domain_crls_ahead (
    domain         TEXT NOT NULL PRIMARY KEY REFERENCES domains (slug),
    -- that of domain_crls, of which it is the highest number; outdated when another one stands there
    counter        BIGINT NOT NULL,
    -- from when on it is in force: its thisUpdate and the backdate
    starts_at      BIGINT NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    sealed         BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
