-- People: users, their sessions, the one-time set-up link, and attempts to sign in.

CREATE TABLE users (
    id             BYTEA NOT NULL PRIMARY KEY,
    -- lower case
    name           TEXT NOT NULL UNIQUE,
    -- viewer | auditor | requester | operator | admin
    role           TEXT NOT NULL,
    -- argon2id in PHC form
    password_hash  TEXT NOT NULL,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    password_changed_at BIGINT NOT NULL,
    last_sign_in_at BIGINT,
    disabled_at    BIGINT
);

-- Only the hash of the cookie's secret is kept.
CREATE TABLE sessions (
    id             BYTEA NOT NULL PRIMARY KEY,
    user_id        BYTEA NOT NULL REFERENCES users (id),
    secret_sha256  BYTEA NOT NULL UNIQUE,
    created_at     BIGINT NOT NULL,
    last_seen_at   BIGINT NOT NULL,
    -- the absolute end; idle sessions end before
    expires_at     BIGINT NOT NULL,
    address        TEXT NOT NULL,
    user_agent     TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE setup_links (
    secret_sha256  BYTEA NOT NULL PRIMARY KEY,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);

-- One row an account, an address, or both together; counted before a password is looked at.
CREATE TABLE sign_in_attempts (
    throttle_key   TEXT NOT NULL PRIMARY KEY,
    failures       BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    blocked_until  BIGINT NOT NULL
);
CREATE INDEX sign_in_attempts_by_time ON sign_in_attempts (last_at);
