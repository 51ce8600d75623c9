-- Accounts are found by their key: a certificate's key may be no account's, and a compromised one ends its accounts.
CREATE INDEX acme_accounts_by_public_key ON acme_accounts (public_key);
