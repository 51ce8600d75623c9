-- When the CAA records of a proved name were looked at last (RFC 8659): at finalize they are again after 8 h.
ALTER TABLE acme_challenges ADD COLUMN caa_checked_at BIGINT;
