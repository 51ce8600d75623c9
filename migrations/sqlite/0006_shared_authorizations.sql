-- An authorization may stand without an order (RFC 8555 §7.4.1) and serve several; an order may replace a certificate.
-- SQLite cannot drop a NOT NULL: both tables are made anew, the referring one first.

CREATE TABLE acme_authorizations_next (
    id             BYTEA NOT NULL PRIMARY KEY,
    account_id     BYTEA NOT NULL REFERENCES acme_accounts (id),
    order_id       BYTEA REFERENCES acme_orders (id),
    position       BIGINT NOT NULL,
    -- pending | valid | invalid | deactivated | expired | revoked
    status         TEXT NOT NULL,
    kind           TEXT NOT NULL,
    value          TEXT NOT NULL,
    wildcard       BOOLEAN NOT NULL,
    expires_at     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    -- RFC 9444: it covers the names below its own too
    subdomains     BOOLEAN NOT NULL DEFAULT FALSE
);
INSERT INTO acme_authorizations_next (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at)
    SELECT id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at FROM acme_authorizations;

CREATE TABLE acme_challenges_next (
    id             BYTEA NOT NULL PRIMARY KEY,
    authorization_id BYTEA NOT NULL REFERENCES acme_authorizations_next (id),
    kind           TEXT NOT NULL,
    token          TEXT NOT NULL,
    -- pending | processing | valid | invalid
    status         TEXT NOT NULL,
    validated_at   BIGINT,
    error          TEXT,
    timeline       TEXT
);
INSERT INTO acme_challenges_next (id, authorization_id, kind, token, status, validated_at, error, timeline)
    SELECT id, authorization_id, kind, token, status, validated_at, error, timeline FROM acme_challenges;

DROP TABLE acme_challenges;
DROP TABLE acme_authorizations;
ALTER TABLE acme_authorizations_next RENAME TO acme_authorizations;
ALTER TABLE acme_challenges_next RENAME TO acme_challenges;
CREATE INDEX acme_authorizations_by_order ON acme_authorizations (order_id, position);
CREATE INDEX acme_authorizations_by_name ON acme_authorizations (account_id, value);
CREATE INDEX acme_authorizations_ahead ON acme_authorizations (account_id, id) WHERE order_id IS NULL;
CREATE INDEX acme_challenges_by_authorization ON acme_challenges (authorization_id);

CREATE TABLE acme_order_authorizations (
    order_id       BYTEA NOT NULL,
    position       BIGINT NOT NULL,
    authorization_id BYTEA NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE INDEX acme_order_authorizations_of ON acme_order_authorizations (authorization_id);
INSERT INTO acme_order_authorizations (order_id, position, authorization_id)
    SELECT order_id, position, id FROM acme_authorizations;

-- the renewal identifier of RFC 9773 §4.1; one order that is not invalid may hold it
ALTER TABLE acme_orders ADD COLUMN replaces TEXT;
CREATE UNIQUE INDEX acme_orders_replacing ON acme_orders (replaces) WHERE replaces IS NOT NULL AND status <> 'invalid';
