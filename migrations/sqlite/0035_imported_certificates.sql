-- Certificates that a CA issued before it came here. Their serials are of other CAs' choosing: two of them may have the
-- same one, which `serials` holds once, so each is found by serial and issuer.
CREATE UNIQUE INDEX certificates_imported ON certificates (serial, issuer_id) WHERE via = 'import';
