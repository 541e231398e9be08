-- The older service's database, version 014: likes of comments.
-- A reconstruction for tests. Apply after the versions before it.

alter table "comment" add column if not exists like_count integer default 0;
create table if not exists commentlike (
    id         serial primary key,
    comment_id integer not null references "comment" (id) on delete cascade,
    user_id    integer not null references "user" (id) on delete cascade,
    created_at timestamp default now(),
    constraint unique_comment_user_like unique (comment_id, user_id)
);
create index if not exists idx_commentlike_comment_id on commentlike (comment_id);
create index if not exists idx_commentlike_user_id on commentlike (user_id);
