-- The counts of the pages $1, in their order, and whether $2 likes each.
select asked as url, coalesce(c.like_count, 0) as like_count, coalesce(c.comment_count, 0) as comment_count,
       coalesce(w.view_count, 0) as view_count,
       exists (select from "like" l where l.url = stored and l.user_id = $2) as user_has_liked,
       stored
from unnest($1::varchar[]) with ordinality page (asked, place)
left join page_alias on old_url = asked
cross join lateral coalesce(new_url, asked) as stored
left join page_count c on c.url = stored
left join page_total w on w.url = stored
order by place
