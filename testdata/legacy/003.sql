-- The older service's database, version 003: the mark of an account that must change its password.
-- A reconstruction for tests. Apply after the versions before it.

alter table "user" add column if not exists force_password_reset boolean default false;
