-- Grants are seen and revoked by themselves; external account keys (RFC 8555 §7.3.4) act under them.

ALTER TABLE grants ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN created_by TEXT NOT NULL DEFAULT '';

CREATE TABLE eab_keys (
    id             BYTEA NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL,
    -- the one directory where it registers accounts
    directory      TEXT NOT NULL REFERENCES acme_directories (slug),
    grant_id       BYTEA NOT NULL REFERENCES grants (id),
    -- the HMAC key under the unlock key, bound to the id
    sealed         BYTEA NOT NULL,
    max_accounts   BIGINT,
    used_accounts  BIGINT NOT NULL,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    revoked_at     BIGINT,
    last_used_at   BIGINT
);
CREATE INDEX eab_keys_by_grant ON eab_keys (grant_id);

ALTER TABLE acme_accounts ADD COLUMN eab_key_id BYTEA;
CREATE INDEX acme_accounts_by_grant ON acme_accounts (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX tokens_by_grant ON tokens (grant_id) WHERE grant_id IS NOT NULL;
