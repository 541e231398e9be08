-- The comments that a moderator has to look at, with who reported them and why,
-- the comment that they answer, and the replies. $1 pattern, $2 the text searched
-- for or an id, $3 which: open (reported or waiting, and seen by nobody yet),
-- flagged (with reports), hidden; the order, the limit $4 and the offset $5 follow.
select c.id, c.url, c.entity_type, c.entity_id, c.content, c.created_at, c.edited_at, coalesce(c.user_id, 0) as user_id,
       coalesce(u.username, '[deleted]') as username, c.flag_count, c.is_hidden, c.held_for, c.reviewed_at, c.parent_comment_id,
       coalesce(m.username, '') as reviewed_by, u.banned_until, coalesce(u.created_at, c.created_at) as author_since,
       (select count(*) from comment o where o.user_id = c.user_id) as author_comments,
       (select count(*) from warning w where w.user_id = c.user_id) as author_warnings,
       count(*) over () as total,
       coalesce((
           select jsonb_agg(jsonb_build_object('reported_by', r.user_id, 'username', ru.username, 'reason', r.reason, 'details', r.details,
                  'reported_at', to_char(r.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) order by r.id)
           from comment_report r join "user" ru on ru.id = r.user_id where r.comment_id = c.id and r.cleared_at is null), '[]') as flag_reasons,
       (select jsonb_build_object('id', p.id, 'username', coalesce(pu.username, '[deleted]'), 'content', case when p.is_removed then '[removed]' else p.content end)
        from comment p left join "user" pu on pu.id = p.user_id where p.id = c.parent_comment_id) as parent,
       coalesce((
           select jsonb_agg(jsonb_build_object('id', a.id, 'username', coalesce(au.username, '[deleted]'), 'content', case when a.is_removed then '[removed]' else a.content end) order by a.id)
           from (select * from comment where parent_comment_id = c.id order by id limit 5) a left join "user" au on au.id = a.user_id), '[]') as replies
from comment c
left join "user" u on u.id = c.user_id
left join "user" m on m.id = c.reviewed_by
where not c.is_removed and case $3
    when 'open' then c.flag_count > 0 and not c.is_hidden or c.held_for is not null
    when 'flagged' then c.flag_count > 0
    else c.is_hidden and c.held_for is null end
  and ($2 = '' or c.id::varchar = $2 or c.content ilike $1 or u.username ilike $1 or c.url ilike $1 or c.entity_type || 's/' || c.entity_id ilike $1)
