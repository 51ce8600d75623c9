-- SQLite alone: the bytes of a CRL become the last column of their row. Postgres keeps large values apart from the row.
SELECT 1;
