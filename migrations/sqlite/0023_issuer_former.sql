-- What an issuer was before it was retired or removed ('', 'default' or 'prepared'): the command that takes such a change
-- back restores it. An older binary leaves the column empty, which restores an ordinary issuer.
ALTER TABLE issuers ADD COLUMN former TEXT NOT NULL DEFAULT '';
