-- The counts of the pages $1, each asked for once, and whether $2 likes it.
select asked as url,
       (select count(*) from "like" l where l.url = stored) as like_count,
       (select count(*) from comment c where c.url = stored and not c.is_hidden and not c.is_removed) as comment_count,
       (select count(*) from pageview v where v.url = stored) as view_count,
       exists (select from "like" l where l.url = stored and l.user_id = $2) as user_has_liked
from unnest($1::varchar[]) page (asked)
left join page_alias on old_url = asked
cross join lateral coalesce(new_url, asked) as stored
