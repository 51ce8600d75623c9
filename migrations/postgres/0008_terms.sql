-- Which terms of service an account agreed to. Accounts made before agreed to some that were not kept: NULL.
ALTER TABLE acme_accounts ADD COLUMN terms_url TEXT;
