-- The external URL of this installation, sealed under the status key (authority/own_url.rs): what a server without the setting
-- uses, and what commands on the host print. NULL: no server of this version has started yet. An earlier version leaves it alone.
ALTER TABLE installation ADD COLUMN external_url BYTEA;
