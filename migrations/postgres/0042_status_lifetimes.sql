-- How long CRLs and OCSP answers of an issuer are valid, in microseconds, where an operator set it; NULL and no row are the
-- default. A table of its own, because an earlier version beside this one compares the MACs of issuers without it.
CREATE TABLE issuer_lifetimes (
    issuer_id     BYTEA NOT NULL PRIMARY KEY,
    crl_lifetime  BIGINT,
    ocsp_lifetime BIGINT,
    row_version   BIGINT NOT NULL DEFAULT 0,
    row_mac       BYTEA
);
