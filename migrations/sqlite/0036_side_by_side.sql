-- Each running process says its version: `chancery doctor` tells when several run side by side. Empty: before 0.36. One
-- process serves a SQLite database, so nothing else is needed for running beside an older one.
ALTER TABLE replica_clocks ADD COLUMN version TEXT NOT NULL DEFAULT '';
