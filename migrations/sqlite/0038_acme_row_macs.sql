-- MACs of ACME accounts and authorizations (store/row_macs), as 0037 has them for other tables.
ALTER TABLE acme_accounts ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE acme_accounts ADD COLUMN row_mac BYTEA;
ALTER TABLE acme_authorizations ADD COLUMN row_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE acme_authorizations ADD COLUMN row_mac BYTEA;

-- What is counted has a MAC of its own: how often a grant was used, and how many accounts an EAB key has registered.
ALTER TABLE grants ADD COLUMN count_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN count_mac BYTEA;
ALTER TABLE eab_keys ADD COLUMN count_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE eab_keys ADD COLUMN count_mac BYTEA;
