-- The older service's database, version 005: when a like was given, and one like a user and URL (said twice).
-- A reconstruction for tests. Apply after the versions before it.

alter table "like" add column if not exists created_at timestamp default now();
alter table "like" add constraint unique_user_url_like unique (url, user_id);
create unique index if not exists idx_like_user_url on "like" (user_id, url);
create index if not exists idx_like_created_at on "like" (created_at);
