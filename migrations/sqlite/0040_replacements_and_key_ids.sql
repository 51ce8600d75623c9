-- What a certificate was issued in place of over REST, which ACME orders say of themselves (acme_orders.replaces).
CREATE TABLE certificate_replacements (
    replaced_id    BYTEA NOT NULL,
    certificate_id BYTEA NOT NULL,
    PRIMARY KEY (replaced_id, certificate_id)
);

-- The key id that an operator gave to an external account key; the others, and those of older servers, go by their id.
ALTER TABLE eab_keys ADD COLUMN kid TEXT;
CREATE UNIQUE INDEX eab_keys_by_kid ON eab_keys (kid) WHERE kid IS NOT NULL;
