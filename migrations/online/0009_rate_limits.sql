-- Step 9 on a Postgres in use: the index on what stands there is built already.
-- Rate limits: one time a limit (GCRA); failures of a name for an account; what an account has in place of its directory's.

CREATE TABLE rate_limits (
    -- what is limited: orders/ACCOUNT, address/…, accounts/…, set/DIRECTORY/SHA-256 of the names
    name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    next_at        BIGINT NOT NULL,
    keep_until     BIGINT NOT NULL
);
CREATE INDEX rate_limits_by_end ON rate_limits (keep_until);

CREATE TABLE acme_failures (
    account_id     BYTEA NOT NULL REFERENCES acme_accounts (id),
    -- a DNS name without its wildcard label, or an address
    name           TEXT COLLATE "C" NOT NULL,
    next_at        BIGINT NOT NULL,
    failures       BIGINT NOT NULL,
    since          BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    paused_at      BIGINT,
    PRIMARY KEY (account_id, name)
);
CREATE INDEX acme_failures_by_last ON acme_failures (last_at);

ALTER TABLE acme_accounts ADD COLUMN limits TEXT;

-- the open orders of an account are counted at each new one, however many it had before
CREATE INDEX IF NOT EXISTS acme_orders_open ON acme_orders (account_id, expires_at) WHERE status IN ('pending', 'ready');
