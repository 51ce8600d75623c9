-- The bytes of a CRL are not compressed: a list of many megabytes took a second for it each time, and was unpacked for each
-- piece that was read. What is stored already is read as before. SQLite keeps the bytes as the last column from here on.
ALTER TABLE crls ALTER COLUMN der SET STORAGE EXTERNAL;
ALTER TABLE crls_ahead ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE domain_crls ALTER COLUMN der SET STORAGE EXTERNAL;
ALTER TABLE domain_crls_ahead ALTER COLUMN sealed SET STORAGE EXTERNAL;
