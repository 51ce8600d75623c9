-- Step 10 on a Postgres in use: the index on what stands there is built already.
-- What the CA saw of ACME requests that came to nothing, found by account, order and name; when certificates were
-- fetched; and orders found by the names that they ask for.

CREATE TABLE acme_attempts (
    id             BYTEA NOT NULL PRIMARY KEY,
    at             BIGINT NOT NULL,
    -- the same request again within a minute or so is counted, not written
    last_at        BIGINT NOT NULL,
    times          BIGINT NOT NULL,
    -- order.refused | order.finalize_refused | authorization.refused | account.refused
    action         TEXT NOT NULL,
    directory      TEXT NOT NULL,
    account_id     BYTEA,
    order_id       BYTEA,
    address        TEXT NOT NULL,
    -- JSON array of names as they were asked for, shortened where nobody could certify them
    names          TEXT NOT NULL,
    code           TEXT NOT NULL,
    detail         TEXT NOT NULL,
    rule           TEXT,
    request_id     TEXT NOT NULL
);
CREATE INDEX acme_attempts_by_account ON acme_attempts (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX acme_attempts_by_order ON acme_attempts (order_id, id) WHERE order_id IS NOT NULL;

CREATE TABLE acme_attempt_names (
    name           TEXT COLLATE "C" NOT NULL,
    attempt_id     BYTEA NOT NULL,
    PRIMARY KEY (name, attempt_id)
);
CREATE INDEX acme_attempt_names_of ON acme_attempt_names (attempt_id);

CREATE TABLE acme_downloads (
    order_id       BYTEA NOT NULL PRIMARY KEY,
    first_at       BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    times          BIGINT NOT NULL,
    address        TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS acme_authorizations_of_value ON acme_authorizations (value COLLATE "C");
