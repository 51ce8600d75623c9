-- An authorization may stand without an order (RFC 8555 §7.4.1) and serve several; an order may replace a certificate.

ALTER TABLE acme_authorizations ALTER COLUMN order_id DROP NOT NULL;
-- RFC 9444: it covers the names below its own too
ALTER TABLE acme_authorizations ADD COLUMN subdomains BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX acme_authorizations_ahead ON acme_authorizations (account_id, id) WHERE order_id IS NULL;

CREATE TABLE acme_order_authorizations (
    order_id       BYTEA NOT NULL,
    position       BIGINT NOT NULL,
    authorization_id BYTEA NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE INDEX acme_order_authorizations_of ON acme_order_authorizations (authorization_id);
INSERT INTO acme_order_authorizations (order_id, position, authorization_id)
    SELECT order_id, position, id FROM acme_authorizations;

-- the renewal identifier of RFC 9773 §4.1; one order that is not invalid may hold it
ALTER TABLE acme_orders ADD COLUMN replaces TEXT;
CREATE UNIQUE INDEX acme_orders_replacing ON acme_orders (replaces) WHERE replaces IS NOT NULL AND status <> 'invalid';
