create or replace function count_likes() returns trigger language plpgsql as $$
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
