-- Adds or takes back the likes of so many people, each of a page ($1) or of an
-- entity ($2, $3), by a user ($4). No like is in it twice. Says of each whether
-- it is there now, and under which URL.
with given as materialized (
    select n, coalesce(new_url, url) as url, entity_type, entity_id, user_id
    from unnest($1::varchar[], $2::varchar[], $3::integer[], $4::integer[]) with ordinality g (url, entity_type, entity_id, user_id, n)
    left join page_alias on old_url = url
), gone_pages as (
    delete from "like" l using given g where l.url = g.url and l.user_id = g.user_id returning n
), gone_entities as (
    delete from "like" l using given g where l.entity_type = g.entity_type and l.entity_id = g.entity_id and l.user_id = g.user_id returning n
), added as (
    insert into "like" (url, entity_type, entity_id, user_id)
    select url, entity_type, entity_id, user_id from given where n not in (select n from gone_pages union all select n from gone_entities) order by n
    on conflict do nothing
)
select n not in (select n from gone_pages union all select n from gone_entities) as liked, url as stored from given order by n
