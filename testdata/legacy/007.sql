-- The older service's database, version 007: moderation of comments.
-- A reconstruction for tests. Apply after the versions before it.

alter table "comment" add column if not exists is_flagged boolean default false;
alter table "comment" add column if not exists flag_count integer default 0;
alter table "comment" add column if not exists flag_reasons text;
alter table "comment" add column if not exists is_hidden boolean default false;
alter table "comment" add column if not exists reviewed_at timestamp;
alter table "comment" add column if not exists reviewed_by integer references "user" (id);
create index if not exists idx_comment_is_flagged on "comment" (is_flagged);
create index if not exists idx_comment_is_hidden on "comment" (is_hidden);
