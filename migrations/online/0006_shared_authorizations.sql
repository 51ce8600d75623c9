-- The rest of step 6 on a Postgres in use: src/store/migrate/online.rs has copied the rows and built the indexes.
ALTER TABLE acme_authorizations ALTER COLUMN order_id DROP NOT NULL;
ALTER TABLE acme_authorizations ADD COLUMN subdomains BOOLEAN NOT NULL DEFAULT FALSE;
