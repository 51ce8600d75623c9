-- Who signs the OCSP answers of an issuer: its delegate, or the issuer's own key ('issuer').
ALTER TABLE issuers ADD COLUMN ocsp_signer TEXT NOT NULL DEFAULT 'delegate';
