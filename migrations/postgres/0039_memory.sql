-- Users are suspended like tokens when the database turns out to be older than its anchor: one who was disabled in the time that
-- is missing must not sign in again. `chancery reconcile --confirm` ends a suspension.
ALTER TABLE users ADD COLUMN suspended_at BIGINT;

-- What a running server cannot do outside of the database, as JSON, for `chancery doctor` on the host. Empty: nothing is known.
ALTER TABLE servers ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
