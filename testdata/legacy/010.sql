-- The older service's database, version 010: comments can be removed.
-- A reconstruction for tests. Apply after the versions before it.

alter table "comment" add column if not exists is_removed boolean default false;
alter table "comment" add column if not exists removed_at timestamp;
create index if not exists idx_comment_is_removed on "comment" (is_removed);
