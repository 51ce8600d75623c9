-- What an issuer does, beside the status that an older binary reads and writes: there an issuer that signs nothing is
-- retired. A domain has at most one default issuer; today's is the active one whose certificate expires last.
ALTER TABLE issuers ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE issuers ADD COLUMN is_default BOOLEAN NOT NULL DEFAULT FALSE;

UPDATE issuers SET state = 'retiring' WHERE status = 'retired';
UPDATE issuers SET state = 'revoked' WHERE status = 'retired' AND EXISTS (
    SELECT 1 FROM issuer_certificates own JOIN certificates c ON c.id = own.certificate_id
    WHERE own.issuer_id = issuers.id AND c.status = 'revoked' AND c.reason IN ('keyCompromise', 'cACompromise'));
UPDATE issuers SET is_default = TRUE WHERE id IN (
    SELECT ranked.id FROM (
        SELECT i.id, ROW_NUMBER() OVER (PARTITION BY i.domain ORDER BY own.not_after DESC, i.slug COLLATE "C" DESC) AS place
        FROM issuers i JOIN issuer_certificates own ON own.issuer_id = i.id
        WHERE i.role = 'issuing' AND i.status = 'active') ranked
    WHERE ranked.place = 1);

CREATE UNIQUE INDEX issuers_default ON issuers (domain) WHERE is_default;
