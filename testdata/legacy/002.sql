-- The older service's database, version 002: the time of the last sign-in.
-- A reconstruction for tests. Apply after the versions before it, or leave it out: it failed
-- wherever the older service ran it (there "user" stood unquoted), and 000 has the column.

alter table "user" add column if not exists last_login timestamp;
