-- The core: hierarchy, certificates, revocation, access, ACME, jobs, audit.
-- Ids are 16 bytes, times BIGINT microseconds UTC, serials their DER content octets. Both engines have the same
-- tables; only UNLOGGED and COLLATE differ.

CREATE TABLE installation (
    one            BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id             BYTEA NOT NULL,
    created_at     BIGINT NOT NULL,
    -- a constant sealed by the unlock key: recognises a wrong one
    key_check      BYTEA NOT NULL,
    -- the status seal's key, sealed by the unlock key
    status_key     BYTEA NOT NULL,
    -- 0 on a fresh database; moved when a restore or a rollback is found
    epoch          BIGINT NOT NULL
);

-- One row a topic; followers poll `version`. Bumped in the transaction that changes the topic.
CREATE TABLE versions (
    topic          TEXT NOT NULL PRIMARY KEY,
    version        BIGINT NOT NULL
);
INSERT INTO versions (topic, version) VALUES ('hierarchy', 0), ('profiles', 0), ('access', 0), ('revocations', 0), ('directories', 0);

CREATE TABLE domains (
    id             BYTEA NOT NULL PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE keys (
    id             BYTEA NOT NULL PRIMARY KEY,
    purpose        TEXT NOT NULL,
    algorithm      TEXT NOT NULL,
    public_key     BYTEA NOT NULL,
    sealed         BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE issuers (
    id             BYTEA NOT NULL PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    domain         TEXT NOT NULL REFERENCES domains (slug),
    name           TEXT NOT NULL,
    -- root | issuing
    role           TEXT NOT NULL,
    key_id         BYTEA NOT NULL REFERENCES keys (id),
    parent_id      BYTEA,
    -- active | retired
    status         TEXT NOT NULL,
    -- base of CRL, OCSP and issuer pointers, fixed at creation
    status_url     TEXT NOT NULL,
    -- the low half of the CRL number; moves in the transaction that stores a CRL
    crl_counter    BIGINT NOT NULL,
    -- set in the transaction of a revocation, cleared by the one that stores the CRL
    crl_dirty      BOOLEAN NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE issuer_certificates (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    -- the row of `certificates` that it is
    certificate_id BYTEA NOT NULL,
    der            BYTEA NOT NULL,
    not_before     BIGINT NOT NULL,
    not_after      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE responders (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    key_id         BYTEA NOT NULL REFERENCES keys (id),
    certificate_id BYTEA NOT NULL,
    der            BYTEA NOT NULL,
    not_before     BIGINT NOT NULL,
    not_after      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX responders_by_issuer ON responders (issuer_id, not_after);

CREATE TABLE profiles (
    id             BYTEA NOT NULL PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    revision       BIGINT NOT NULL,
    config         TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

CREATE TABLE profile_revisions (
    profile_id     BYTEA NOT NULL,
    revision       BIGINT NOT NULL,
    config         TEXT NOT NULL,
    actor          TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (profile_id, revision)
);

-- Narrow and never partitioned: a serial is unique over all issuers, for ever.
CREATE TABLE serials (
    serial         BYTEA NOT NULL PRIMARY KEY,
    certificate_id BYTEA NOT NULL
);

CREATE TABLE certificates (
    id             BYTEA NOT NULL PRIMARY KEY,
    serial         BYTEA NOT NULL,
    issuer_id      BYTEA NOT NULL,
    issuer         TEXT NOT NULL,
    profile        TEXT NOT NULL,
    profile_revision BIGINT NOT NULL,
    -- intended | valid | revoked  (expired follows from not_after)
    status         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    -- JSON array of {type, value}
    names          TEXT NOT NULL,
    not_before     BIGINT NOT NULL,
    not_after      BIGINT NOT NULL,
    spki_sha256    BYTEA NOT NULL,
    fingerprint    BYTEA,
    key_algorithm  TEXT NOT NULL,
    -- rest | acme | cli | internal
    via            TEXT NOT NULL,
    requester      TEXT NOT NULL,
    account_id     BYTEA,
    order_id       BYTEA,
    replica_id     BYTEA NOT NULL,
    intended_at    BIGINT NOT NULL,
    issued_at      BIGINT,
    revoked_at     BIGINT,
    reason         TEXT
);
CREATE INDEX certificates_by_expiry ON certificates (not_after, id);
CREATE INDEX certificates_by_account ON certificates (account_id, not_after) WHERE account_id IS NOT NULL;
CREATE INDEX certificates_by_key ON certificates (spki_sha256);
CREATE INDEX certificates_intended ON certificates (intended_at) WHERE status = 'intended';
CREATE INDEX certificates_by_fingerprint ON certificates (fingerprint);
CREATE UNIQUE INDEX certificates_by_order ON certificates (order_id) WHERE order_id IS NOT NULL;

CREATE TABLE certificate_bodies (
    certificate_id BYTEA NOT NULL PRIMARY KEY,
    -- the to-be-signed bytes, committed before the signature
    tbs            BYTEA NOT NULL,
    request        BYTEA,
    der            BYTEA
);

-- `reversed` holds the labels of a DNS name from the right (org.example.www), so that a suffix is a prefix.
CREATE TABLE certificate_names (
    name           TEXT COLLATE "C" NOT NULL,
    certificate_id BYTEA NOT NULL,
    reversed       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (name, certificate_id)
);
CREATE INDEX certificate_names_reversed ON certificate_names (reversed, certificate_id);

CREATE TABLE revocations (
    issuer_id      BYTEA NOT NULL,
    serial         BYTEA NOT NULL,
    certificate_id BYTEA NOT NULL,
    revoked_at     BIGINT NOT NULL,
    reason         TEXT NOT NULL,
    not_after      BIGINT NOT NULL,
    PRIMARY KEY (issuer_id, serial)
);

CREATE TABLE crls (
    id             BYTEA NOT NULL PRIMARY KEY,
    issuer_id      BYTEA NOT NULL REFERENCES issuers (id),
    -- 16 bytes, big endian: epoch << 64 | counter
    number         BYTEA NOT NULL,
    this_update    BIGINT NOT NULL,
    next_update    BIGINT NOT NULL,
    entries        BIGINT NOT NULL,
    der            BYTEA NOT NULL,
    created_at     BIGINT NOT NULL,
    UNIQUE (issuer_id, number)
);
CREATE INDEX crls_current ON crls (issuer_id, this_update);

CREATE TABLE blocked_keys (
    spki_sha256    BYTEA NOT NULL PRIMARY KEY,
    reason         TEXT NOT NULL,
    blocked_at     BIGINT NOT NULL,
    actor          TEXT NOT NULL
);

CREATE TABLE grants (
    id             BYTEA NOT NULL PRIMARY KEY,
    scope          TEXT NOT NULL,
    expires_at     BIGINT,
    max_count      BIGINT,
    used_count     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    revoked_at     BIGINT
);

CREATE TABLE tokens (
    id             BYTEA NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL,
    secret_sha256  BYTEA NOT NULL UNIQUE,
    role           TEXT NOT NULL,
    grant_id       BYTEA,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    revoked_at     BIGINT,
    last_used_at   BIGINT
);

CREATE TABLE idempotency_keys (
    actor          TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_sha256 BYTEA NOT NULL,
    -- null while the first request is in flight
    certificate_id BYTEA,
    status         BIGINT,
    body           TEXT,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (actor, idempotency_key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE acme_directories (
    id             BYTEA NOT NULL PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE,
    config         TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE acme_accounts (
    id             BYTEA NOT NULL PRIMARY KEY,
    directory      TEXT NOT NULL REFERENCES acme_directories (slug),
    -- valid | deactivated | revoked
    status         TEXT NOT NULL,
    -- canonical JWK, its SHA-256 thumbprint and the SubjectPublicKeyInfo
    jwk            TEXT NOT NULL,
    thumbprint     BYTEA NOT NULL,
    public_key     BYTEA NOT NULL,
    contact        TEXT NOT NULL,
    url            TEXT NOT NULL,
    terms_agreed   BOOLEAN NOT NULL,
    grant_id       BYTEA,
    eab            TEXT,
    created_at     BIGINT NOT NULL,
    created_from   TEXT NOT NULL,
    UNIQUE (directory, thumbprint)
);

CREATE TABLE acme_orders (
    id             BYTEA NOT NULL PRIMARY KEY,
    account_id     BYTEA NOT NULL REFERENCES acme_accounts (id),
    directory      TEXT NOT NULL,
    -- pending | ready | processing | valid | invalid
    status         TEXT NOT NULL,
    identifiers    TEXT NOT NULL,
    profile        TEXT NOT NULL,
    not_before     BIGINT,
    not_after      BIGINT,
    error          TEXT,
    certificate_id BYTEA,
    expires_at     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX acme_orders_by_account ON acme_orders (account_id, id);
CREATE INDEX acme_orders_by_expiry ON acme_orders (expires_at) WHERE status IN ('pending', 'ready', 'processing');

CREATE TABLE acme_authorizations (
    id             BYTEA NOT NULL PRIMARY KEY,
    account_id     BYTEA NOT NULL REFERENCES acme_accounts (id),
    order_id       BYTEA NOT NULL REFERENCES acme_orders (id),
    position       BIGINT NOT NULL,
    -- pending | valid | invalid | deactivated | expired | revoked
    status         TEXT NOT NULL,
    kind           TEXT NOT NULL,
    value          TEXT NOT NULL,
    wildcard       BOOLEAN NOT NULL,
    expires_at     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX acme_authorizations_by_order ON acme_authorizations (order_id, position);
CREATE INDEX acme_authorizations_by_name ON acme_authorizations (account_id, value);

CREATE TABLE acme_challenges (
    id             BYTEA NOT NULL PRIMARY KEY,
    authorization_id BYTEA NOT NULL REFERENCES acme_authorizations (id),
    kind           TEXT NOT NULL,
    token          TEXT NOT NULL,
    -- pending | processing | valid | invalid
    status         TEXT NOT NULL,
    validated_at   BIGINT,
    error          TEXT,
    timeline       TEXT
);
CREATE INDEX acme_challenges_by_authorization ON acme_challenges (authorization_id);

CREATE TABLE jobs (
    id             BYTEA NOT NULL PRIMARY KEY,
    kind           TEXT NOT NULL,
    payload        TEXT NOT NULL,
    run_at         BIGINT NOT NULL,
    attempts       BIGINT NOT NULL,
    -- free when lease_until <= now; every claim moves the fence, and writers compare it
    lease_until    BIGINT NOT NULL,
    fence          BIGINT NOT NULL,
    last_error     TEXT,
    created_at     BIGINT NOT NULL
);
CREATE INDEX jobs_due ON jobs (run_at);

CREATE TABLE leases (
    name           TEXT NOT NULL PRIMARY KEY,
    holder         BYTEA NOT NULL,
    fence          BIGINT NOT NULL,
    until          BIGINT NOT NULL
);

CREATE TABLE audit_events (
    -- the replica that wrote it and the lane within it: one hash chain each
    writer         BYTEA NOT NULL,
    lane           BIGINT NOT NULL,
    seq            BIGINT NOT NULL,
    id             BYTEA NOT NULL UNIQUE,
    at             BIGINT NOT NULL,
    action         TEXT NOT NULL,
    outcome        TEXT NOT NULL,
    actor          TEXT NOT NULL,
    object         TEXT NOT NULL,
    request_id     TEXT NOT NULL,
    detail         TEXT NOT NULL,
    previous       BYTEA NOT NULL,
    hash           BYTEA NOT NULL,
    PRIMARY KEY (writer, lane, seq)
);
CREATE INDEX audit_events_by_object ON audit_events (object, id);

CREATE TABLE audit_checkpoints (
    id             BYTEA NOT NULL PRIMARY KEY,
    at             BIGINT NOT NULL,
    heads          TEXT NOT NULL,
    key_id         BYTEA NOT NULL,
    signature      BYTEA NOT NULL
);

-- Postgres only uses these two; SQLite keeps spent nonces in memory (a new epoch at every boot).
CREATE UNLOGGED TABLE nonce_epochs (
    epoch          BIGINT NOT NULL PRIMARY KEY,
    nonce_key      BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE UNLOGGED TABLE nonces_spent (
    nonce          BYTEA NOT NULL PRIMARY KEY,
    expires_at     BIGINT NOT NULL
);
CREATE INDEX nonces_spent_by_expiry ON nonces_spent (expires_at);
