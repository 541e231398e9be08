-- The older service's database, version 009: comments can be edited, and keep their earlier texts. Its foreign key is there twice.
-- A reconstruction for tests. Apply after the versions before it.

alter table "comment" add column if not exists edited_at timestamp;
create table if not exists commentversion (
    id         serial primary key,
    comment_id integer not null references "comment" (id) on delete cascade,
    content    text not null,
    edited_at  timestamp default now()
);
alter table commentversion add constraint fk_commentversion_comment
    foreign key (comment_id) references "comment" (id) on delete cascade;
create index if not exists idx_commentversion_comment_id on commentversion (comment_id);
