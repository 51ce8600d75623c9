-- Step 34 on a Postgres in use: the column of revocations and the index are there already.
ALTER TABLE certificates ADD COLUMN invalidity_date BIGINT;
ALTER TABLE issuers ADD COLUMN revocations_changed BIGINT NOT NULL DEFAULT 0;
DROP INDEX revocations_listed;
ALTER INDEX revocations_listed_whole RENAME TO revocations_listed;
ALTER TABLE blocked_keys ADD COLUMN comment TEXT NOT NULL DEFAULT '';
