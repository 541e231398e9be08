-- Reports, holding for review, warnings and bans; counters of pages; and what
-- stays of the comments of a deleted account.

-- Who reported a comment, and why. A report that was looked at stays, so that
-- repeating it changes nothing.
create table comment_report (
    id         serial primary key,
    comment_id integer not null references comment on delete cascade,
    user_id    integer not null references "user" on delete cascade,
    reason     varchar not null check (reason in ('spam', 'abusive', 'inappropriate', 'other')),
    details    text,
    created_at timestamp not null default now(),
    cleared_at timestamp,
    unique (comment_id, user_id)
);
create index comment_report_user_id_idx on comment_report (user_id);

-- Why a comment waits, hidden, for a moderator: new, link, or all. Null: it does not.
alter table comment add held_for varchar;
create index comment_flagged_idx on comment (flag_count desc, id) where flag_count > 0;
create index comment_held_idx on comment (created_at, id) where held_for is not null;

-- Until when somebody may only read.
alter table "user" add banned_until timestamp;

-- What moderators have told an author.
create table warning (
    id         serial primary key,
    user_id    integer not null references "user" on delete cascade,
    comment_id integer references comment on delete set null,
    text       text not null,
    created_by integer references "user" on delete set null,
    created_at timestamp not null default now(),
    seen_at    timestamp
);
create index warning_user_id_idx on warning (user_id, seen_at);
create index warning_comment_id_idx on warning (comment_id);
create index warning_created_by_idx on warning (created_by);

-- The older service's reports, a JSON text in each comment's row. Rows whose
-- count changes by it are kept in merged_row.
do $$
declare
    c record;
    r jsonb;
begin
    for c in select * from comment where flag_reasons is not null or flag_count <> 0 or is_flagged for update loop
        begin
            for r in select * from jsonb_array_elements(coalesce(nullif(c.flag_reasons, ''), '[]')::jsonb) loop
                insert into comment_report (comment_id, user_id, reason, details, created_at)
                select c.id, u.id, case when r ->> 'reason' in ('spam', 'abusive', 'inappropriate') then r ->> 'reason' else 'other' end,
                       nullif(r ->> 'details', ''), coalesce((r ->> 'reported_at')::timestamp, c.created_at)
                from "user" u where u.id = (r ->> 'reported_by')::integer
                on conflict do nothing;
            end loop;
        exception when others then
            raise notice 'comment %: its reports could not be read: %', c.id, sqlerrm;
        end;
        insert into merged_row (table_name, row_id, row_data, reason) values ('comment', c.id, to_jsonb(c), 'reports have a table of their own');
    end loop;
end $$;
update comment c set flag_reasons = null, flag_count = n, is_flagged = n > 0 from (
    select m.id, (select count(*) from comment_report r where r.comment_id = m.id) as n from comment m
    where flag_reasons is not null or flag_count <> 0 or is_flagged
) counted where counted.id = c.id;

create function count_report() returns trigger language plpgsql as $$
declare
    was integer := case when tg_op = 'INSERT' or old.cleared_at is not null then 0 else 1 end;
    now_is integer := case when tg_op = 'DELETE' or new.cleared_at is not null then 0 else 1 end;
begin
    if was <> now_is then
        update comment set flag_count = flag_count + now_is - was, is_flagged = flag_count + now_is - was > 0
        where id = coalesce(new.comment_id, old.comment_id);
    end if;
    return null;
end $$;
create trigger count_report after insert or delete or update of cleared_at on comment_report for each row execute function count_report();

-- Likes and visible comments of every page.
create table page_count (
    url           varchar primary key,
    like_count    integer not null default 0,
    last_liked_at timestamp,
    comment_count integer not null default 0
);
insert into page_count (url, like_count, last_liked_at, comment_count)
select url, coalesce(likes, 0), last_liked_at, coalesce(comments, 0)
from (select url, count(*) as likes, max(created_at) as last_liked_at from "like" where url is not null group by url) l
full join (select url, count(*) as comments from comment where url is not null and not is_hidden and not is_removed group by url) c using (url);
create index page_count_liked_idx on page_count (like_count desc, last_liked_at desc, url) where like_count > 0;
create index like_latest_idx on "like" (url, created_at desc) where url is not null;

create or replace function count_like() returns trigger language plpgsql as $$
declare
    l record := coalesce(new, old);
begin
    if l.entity_type = 'project' then
        update project set like_count = like_count + case tg_op when 'INSERT' then 1 else -1 end where id = l.entity_id;
    elsif l.url is not null and tg_op = 'INSERT' then
        insert into page_count as p (url, like_count, last_liked_at) values (l.url, 1, l.created_at)
        on conflict (url) do update set like_count = p.like_count + 1, last_liked_at = greatest(p.last_liked_at, l.created_at);
    elsif l.url is not null then
        -- Held first, so that the latest like is looked for when nobody else adds one.
        perform from page_count where url = l.url for no key update;
        update page_count set like_count = like_count - 1, last_liked_at = (select max(created_at) from "like" where url = l.url)
        where url = l.url;
    end if;
    return null;
end $$;

create or replace function count_comment() returns trigger language plpgsql as $$
declare
    c record := coalesce(new, old);
    was integer := case when tg_op = 'INSERT' or old.is_hidden or old.is_removed then 0 else 1 end;
    now_is integer := case when tg_op = 'DELETE' or new.is_hidden or new.is_removed then 0 else 1 end;
begin
    if was <> now_is then
        update comment set reply_count = reply_count + now_is - was where id = c.parent_comment_id;
        if c.entity_type = 'project' then
            update project set comment_count = comment_count + now_is - was where id = c.entity_id;
        elsif c.url is not null then
            insert into page_count as p (url, comment_count) values (c.url, now_is - was)
            on conflict (url) do update set comment_count = p.comment_count + now_is - was;
        end if;
    end if;
    return null;
end $$;

-- A deleted account's comments go; those below which somebody else's comments
-- hang stay without text and author. Rows are held in one order, children
-- before parents and comments before what counts them, as everybody holds them.
alter table comment alter user_id drop not null;

create function forget_comments(who integer) returns void language plpgsql as $$
declare
    kept integer[];
begin
    perform from comment
    where user_id = who
       or id in (select parent_comment_id from comment where user_id = who)
       or id in (select comment_id from commentlike where user_id = who)
       or id in (select comment_id from comment_report where user_id = who)
    order by id desc for no key update;
    perform from project
    where id in (select entity_id from comment where user_id = who and entity_type = 'project'
                 union select entity_id from "like" where user_id = who and entity_type = 'project')
    order by id for no key update;
    perform from page_count
    where url in (select url from comment where user_id = who union select url from "like" where user_id = who)
    order by url for no key update;

    kept := array(
        with recursive chain (id) as (
            select parent_comment_id from comment
            where (user_id is null or user_id <> who) and parent_comment_id in (select id from comment where user_id = who)
            union
            select c.parent_comment_id from comment c join chain on chain.id = c.id where c.user_id = who and c.parent_comment_id is not null
        )
        select c.id from comment c join chain on chain.id = c.id where c.user_id = who);
    delete from commentversion where comment_id = any (kept);
    delete from commentlike where comment_id = any (kept);
    delete from comment_report where comment_id = any (kept);
    update comment set user_id = null, content = '', edited_at = null, held_for = null, is_removed = true, removed_at = coalesce(removed_at, now())
    where id = any (kept);
    delete from comment where user_id = who;
end $$;

create function forget_comments_of_user() returns trigger language plpgsql as $$
begin
    perform forget_comments(old.id);
    return old;
end $$;
create trigger forget_comments before delete on "user" for each row execute function forget_comments_of_user();
