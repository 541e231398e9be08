-- The older service's database, version 013: profiles.
-- A reconstruction for tests. Apply after the versions before it.

alter table "user" add column if not exists profile_picture varchar;
alter table "user" add column if not exists location varchar;
alter table "user" add column if not exists bio text;
