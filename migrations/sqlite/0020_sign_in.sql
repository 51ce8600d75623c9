-- Signing in while somebody guesses: wrong passwords of browsers that are not known, browsers that signed in before,
-- and one-time links that make a browser known.

-- in a row, of browsers that are not known
ALTER TABLE users ADD COLUMN failed_sign_ins BIGINT NOT NULL DEFAULT 0;

CREATE TABLE known_devices (
    id             BYTEA NOT NULL PRIMARY KEY,
    user_id        BYTEA NOT NULL REFERENCES users (id),
    -- wrong passwords in a row
    failures       BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    address        TEXT NOT NULL,
    user_agent     TEXT NOT NULL
);
CREATE INDEX known_devices_by_user ON known_devices (user_id, id);
CREATE INDEX known_devices_by_expiry ON known_devices (expires_at);

-- Only the hash of a link's secret is kept; one open link a user.
CREATE TABLE sign_in_links (
    user_id        BYTEA NOT NULL PRIMARY KEY REFERENCES users (id),
    secret_sha256  BYTEA NOT NULL UNIQUE,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);

-- Secrets that replicas share, sealed under the unlock key.
CREATE TABLE shared_secrets (
    name           TEXT NOT NULL PRIMARY KEY,
    sealed         BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
