-- Step 27 on a Postgres in use: the index is built already.
CREATE INDEX IF NOT EXISTS revocations_listed ON revocations (issuer_id, serial, not_after, revoked_at, reason);
