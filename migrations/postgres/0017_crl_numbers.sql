-- CRLs are built outside the transaction that stores them, and their numbers may be longer than the counter.

-- the highest number that the issuer ever used, 16 or 20 octets; NULL until a CRL of this schema is signed
ALTER TABLE issuers ADD COLUMN crl_number BYTEA;
-- crl_dirty was taken over by a publication that is under way (or was killed): the CRL is due until it is stored
ALTER TABLE issuers ADD COLUMN crl_building BOOLEAN NOT NULL DEFAULT FALSE;
-- since when revoked certificates stay listed past their end (expiredCertsOnCRL, archiveCutoff); NULL: they do not
ALTER TABLE issuers ADD COLUMN crl_retained_since BIGINT;
