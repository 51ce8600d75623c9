-- A checkpoint is also kept as the signed note that is published outside (C2SP signed-note); empty in checkpoints of
-- earlier versions. `audit_seal` holds, under the unlock key, the key of the audit and its newest checkpoint: rows that
-- disagree with it were changed. Both are left alone by earlier versions, which may run beside this one.
ALTER TABLE audit_checkpoints ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE installation ADD COLUMN audit_seal BYTEA;
