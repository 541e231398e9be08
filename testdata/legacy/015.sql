-- The older service's database, version 015: replies to comments.
-- A reconstruction for tests. Apply after the versions before it.

alter table "comment" add column if not exists parent_comment_id integer references "comment" (id) on delete cascade;
alter table "comment" add column if not exists reply_count integer default 0;
create index if not exists idx_comment_parent_comment_id on "comment" (parent_comment_id);
