-- What was suspended because the database turned out to be older than its anchor: it may have been revoked in the time that
-- is missing. `chancery reconcile --confirm` ends a suspension.

ALTER TABLE tokens ADD COLUMN suspended_at BIGINT;
ALTER TABLE grants ADD COLUMN suspended_at BIGINT;
ALTER TABLE eab_keys ADD COLUMN suspended_at BIGINT;
