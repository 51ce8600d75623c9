-- MACs of rows that carry authority (store/row_macs): the version of a row, and HMAC-SHA-256 over it and its columns, NULL in
-- rows of an earlier version. An earlier version beside this one leaves them alone.
ALTER TABLE tokens ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN row_mac BYTEA;
ALTER TABLE grants ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN row_mac BYTEA;
ALTER TABLE users ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN row_mac BYTEA;
ALTER TABLE sessions ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN row_mac BYTEA;
ALTER TABLE setup_links ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE setup_links ADD COLUMN row_mac BYTEA;
ALTER TABLE eab_keys ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE eab_keys ADD COLUMN row_mac BYTEA;
ALTER TABLE profiles ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE profiles ADD COLUMN row_mac BYTEA;
ALTER TABLE acme_directories ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE acme_directories ADD COLUMN row_mac BYTEA;
ALTER TABLE issuers ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE issuers ADD COLUMN row_mac BYTEA;
ALTER TABLE issuer_certificates ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE issuer_certificates ADD COLUMN row_mac BYTEA;
ALTER TABLE anchors ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE anchors ADD COLUMN row_mac BYTEA;

-- Where power was taken away: an older version of the row counts no more. Rows are only added; those of sessions and set-up
-- links are dropped after the last one that could come back has expired.
CREATE TABLE row_floors (
    table_name     TEXT NOT NULL,
    row_id         BYTEA NOT NULL,
    least_version  BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    PRIMARY KEY (table_name, row_id, least_version)
);
