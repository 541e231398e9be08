-- Likes and new comments are counted by the statement and no longer by the row,
-- since the server writes what many people send in one.

drop trigger count_like on "like";
drop function count_like();

-- Counts what changed: the likes that one statement added or removed. Rows of
-- projects and of page_count are taken in the order of their keys, as everybody takes them.
create function count_likes() returns trigger language plpgsql as $$
declare
    step integer := case tg_op when 'INSERT' then 1 else -1 end;
begin
    if exists (select from changed where entity_type = 'project') then
        perform from project where id in (select entity_id from changed where entity_type = 'project') order by id for no key update;
        update project set like_count = like_count + step * likes
        from (select entity_id, count(*) as likes from changed where entity_type = 'project' group by 1) c where id = entity_id;
    end if;
    if tg_op = 'INSERT' then
        insert into page_count as p (url, like_count, last_liked_at)
            select url, count(*), max(created_at) from changed where url is not null group by url order by url
            on conflict (url) do update set like_count = p.like_count + excluded.like_count, last_liked_at = greatest(p.last_liked_at, excluded.last_liked_at);
    else
        -- Held first, so that the latest like is looked for when nobody else adds one.
        perform from page_count where url in (select url from changed) order by url for no key update;
        update page_count p set like_count = like_count - likes, last_liked_at = (select max(created_at) from "like" where url = p.url)
        from (select url, count(*) as likes from changed where url is not null group by url) c where c.url = p.url;
    end if;
    return null;
end $$;
create trigger count_new_likes after insert on "like" referencing new table as changed for each statement execute function count_likes();
create trigger count_old_likes after delete on "like" referencing old table as changed for each statement execute function count_likes();

drop trigger count_comment on comment;
drop function count_comment();

-- Counts comments that can be seen now, or no longer: each has its parent, its
-- project, its page, and a step of 1 or -1.
create function count_comments(parents integer[], projects integer[], urls varchar[], steps integer[]) returns void language plpgsql as $$
begin
    if array_remove(parents, null) <> '{}' then
        perform from comment where id = any (parents) order by id desc for no key update;
        update comment set reply_count = reply_count + step
        from (select parent, sum(step) as step from unnest(parents, steps) c (parent, step) group by 1) c where id = parent;
    end if;
    if array_remove(projects, null) <> '{}' then
        perform from project where id = any (projects) order by id for no key update;
        update project set comment_count = comment_count + step
        from (select project_id, sum(step) as step from unnest(projects, steps) c (project_id, step) group by 1) c where id = project_id;
    end if;
    insert into page_count as p (url, comment_count)
        select url, sum(step) from unnest(urls, steps) c (url, step) where url is not null group by url order by url
        on conflict (url) do update set comment_count = p.comment_count + excluded.comment_count;
end $$;

create function count_added_comments() returns trigger language plpgsql as $$
begin
    perform count_comments(array_agg(parent_comment_id), array_agg(case entity_type when 'project' then entity_id end), array_agg(url), array_agg(step))
    from (select *, case tg_op when 'INSERT' then 1 else -1 end as step from changed where not is_hidden and not is_removed) c
    having count(*) > 0;
    return null;
end $$;
create trigger count_new_comments after insert on comment referencing new table as changed for each statement execute function count_added_comments();
create trigger count_old_comments after delete on comment referencing old table as changed for each statement execute function count_added_comments();

create function count_shown_comment() returns trigger language plpgsql as $$
declare
    was integer := case when old.is_hidden or old.is_removed then 0 else 1 end;
    now_is integer := case when new.is_hidden or new.is_removed then 0 else 1 end;
begin
    if was <> now_is then
        perform count_comments(array[new.parent_comment_id], array[case new.entity_type when 'project' then new.entity_id end], array[new.url], array[now_is - was]);
    end if;
    return null;
end $$;
create trigger count_shown_comment after update of is_hidden, is_removed on comment for each row execute function count_shown_comment();
