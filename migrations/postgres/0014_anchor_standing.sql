-- How a CA certificate of others came to a domain: `home` is the root of a domain without an own one, `added` came by an
-- explicit command, `chain` stands above a cross-certificate and is in no bundle. What was there before is `kept`, and
-- so is what an older binary still adds: in the bundle, as it was.
ALTER TABLE anchors ADD COLUMN standing TEXT NOT NULL DEFAULT 'kept';
