-- The older service's database, version 017: likes and comments of entities (projects) instead of a URL.
-- A reconstruction for tests. Apply after the versions before it.

alter table "like" alter column url drop not null;
alter table "like" add column entity_type varchar(50);
alter table "like" add column entity_id integer;
alter table "like" add constraint like_target_check check (
    (url is not null and entity_type is null and entity_id is null)
    or (url is null and entity_type is not null and entity_id is not null));
alter table "like" add constraint like_user_id_url_key unique (user_id, url);
create unique index idx_like_user_entity on "like" (user_id, entity_type, entity_id) where entity_type is not null;
create index if not exists idx_like_entity on "like" (entity_type, entity_id);

alter table "comment" alter column url drop not null;
alter table "comment" add column entity_type varchar(50);
alter table "comment" add column entity_id integer;
alter table "comment" add constraint comment_target_check check (
    (url is not null and entity_type is null and entity_id is null)
    or (url is null and entity_type is not null and entity_id is not null));
create index if not exists idx_comment_entity on "comment" (entity_type, entity_id);
