-- The older service's database, version 004: password reset codes.
-- A reconstruction for tests. Apply after the versions before it.

alter table "user" add column if not exists password_reset_code varchar;
alter table "user" add column if not exists code_expires_at timestamp;
create index if not exists idx_user_password_reset_code on "user" (password_reset_code);
