drop trigger count_new_likes on "like";
drop trigger count_old_likes on "like";
drop trigger count_new_comments on comment;
drop trigger count_old_comments on comment;
drop trigger count_shown_comment on comment;
drop function count_likes(), count_added_comments(), count_shown_comment(), count_comments(integer[], integer[], varchar[], integer[]);

create function count_like() returns trigger language plpgsql as $$
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
create trigger count_like after insert or delete on "like" for each row execute function count_like();

create function count_comment() returns trigger language plpgsql as $$
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
create trigger count_comment after insert or delete or update of is_hidden, is_removed on comment
    for each row execute function count_comment();
