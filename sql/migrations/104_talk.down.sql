-- The older service keeps reports in the comment's row, and knows no comment
-- without an author.
update comment c set flag_reasons = (
    select jsonb_agg(jsonb_build_object('reported_by', r.user_id, 'reason', r.reason, 'details', r.details, 'reported_at', to_char(r.created_at, 'YYYY-MM-DD"T"HH24:MI:SS')) order by r.id)::text
    from comment_report r where r.comment_id = c.id and r.cleared_at is null)
where flag_count > 0;

-- Replies to somebody who is gone become replies to the comment before that.
do $$
declare
    moved bigint := 1;
begin
    while moved > 0 loop
        update comment c set parent_comment_id = p.parent_comment_id from comment p where p.id = c.parent_comment_id and p.user_id is null;
        get diagnostics moved = row_count;
    end loop;
end $$;
drop trigger forget_comments on "user";
drop function forget_comments_of_user, forget_comments;
delete from comment where user_id is null;
alter table comment alter user_id set not null;
update comment c set reply_count = n from (
    select p.id, count(r.id) as n from comment p left join comment r on r.parent_comment_id = p.id and not r.is_hidden and not r.is_removed group by p.id
) counted where counted.id = c.id and reply_count <> n;

create or replace function count_like() returns trigger language plpgsql as $$
declare
    l record := coalesce(new, old);
begin
    if l.entity_type = 'project' then
        update project set like_count = like_count + case tg_op when 'INSERT' then 1 else -1 end where id = l.entity_id;
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
        end if;
    end if;
    return null;
end $$;
drop index like_latest_idx;
drop table page_count, warning, comment_report;
drop function count_report;
drop index comment_flagged_idx, comment_held_idx;
alter table comment drop held_for;
alter table "user" drop banned_until;
