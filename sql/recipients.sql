-- Who is told of the comment $1, each for one reason: an answer to one's
-- comment, a comment on one's project, or being named (the names in lower case
-- are $2). Not its author; nobody who doesn't want to know, can't see it, or
-- whose address is not confirmed where $3 asks for that.
select distinct on (u.id) u.id, u.username, u.email, r.kind
from comment c
left join comment parent on parent.id = c.parent_comment_id
left join project p on p.id = c.entity_id
cross join lateral (
    values ('replies', parent.user_id, 1), ('projects', p.author_id, 2)
    union all
    select * from (select 'mentions', m.id, 3 from "user" m where lower(m.username) = any ($2) order by m.id limit 10) named
) r (kind, user_id, rank)
join "user" u on u.id = r.user_id
where c.id = $1 and u.id <> c.user_id and u.status = 'active' and (u.email_verified or not $3)
  and case r.kind when 'replies' then u.notify_replies when 'projects' then u.notify_projects else u.notify_mentions end
  and (p.id is null or p.status = 'published' or p.author_id = u.id)
order by u.id, r.rank
