-- Every comment with all that belongs to it, in the order in which they can be
-- written again. Times inside JSON are spelled as RFC 3339 asks.
select c.id, c.parent_comment_id as parent, c.url, c.entity_type, c.entity_id, u.username as author, c.content, c.created_at, c.edited_at,
       c.removed_at, c.is_removed as removed, c.is_hidden as hidden, c.held_for, c.reviewed_at, m.username as reviewed_by,
       coalesce((select jsonb_agg(jsonb_build_object('content', v.content, 'edited_at', to_char(v.edited_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) order by v.id)
                 from commentversion v where v.comment_id = c.id), '[]') as versions,
       coalesce((select jsonb_agg(jsonb_build_object('username', lu.username, 'created_at', to_char(l.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) order by l.id)
                 from commentlike l join "user" lu on lu.id = l.user_id where l.comment_id = c.id), '[]') as likes,
       coalesce((select jsonb_agg(jsonb_build_object('username', ru.username, 'reason', r.reason, 'details', r.details,
                        'created_at', to_char(r.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'cleared_at', to_char(r.cleared_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) order by r.id)
                 from comment_report r join "user" ru on ru.id = r.user_id where r.comment_id = c.id), '[]') as reports
from comment c
left join "user" u on u.id = c.user_id
left join "user" m on m.id = c.reviewed_by
order by c.id
