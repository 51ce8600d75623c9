-- The date since when a key is known or suspected to be compromised (RFC 5280 §5.3.2), beside the date of the revocation.
-- An older binary publishes CRLs without it.
ALTER TABLE certificates ADD COLUMN invalidity_date BIGINT;
ALTER TABLE revocations ADD COLUMN invalidity_date BIGINT;
-- Rises with every revocation of the issuer that was changed or taken back: a list that goes on from the one before it
-- is read as a whole then.
ALTER TABLE issuers ADD COLUMN revocations_changed BIGINT NOT NULL DEFAULT 0;
-- All that a CRL says of a revocation, as before, with the new column.
DROP INDEX revocations_listed;
CREATE INDEX revocations_listed ON revocations (issuer_id, serial, not_after, revoked_at, reason, invalidity_date);
-- Why somebody blocked a key, in words.
ALTER TABLE blocked_keys ADD COLUMN comment TEXT NOT NULL DEFAULT '';
