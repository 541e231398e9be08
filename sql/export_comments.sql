-- Every comment, in the order of writing, with everybody by name and address.
select c.id, c.url, c.parent_comment_id, c.content, c.created_at, c.edited_at, c.is_hidden, c.is_removed, c.removed_at, c.held_for, c.reviewed_at,
       case when p.id is not null then jsonb_build_object('title', p.title, 'author', owner.username, 'created_at', p.created_at at time zone 'UTC') end as project,
       case when u.id is not null then jsonb_build_object('username', u.username, 'email', u.email, 'created_at', u.created_at at time zone 'UTC') end as author,
       case when r.id is not null then jsonb_build_object('username', r.username, 'email', r.email, 'created_at', r.created_at at time zone 'UTC') end as reviewed_by,
       (select coalesce(jsonb_agg(jsonb_build_object('content', v.content, 'edited_at', v.edited_at at time zone 'UTC') order by v.id), '[]')
        from commentversion v where v.comment_id = c.id) as versions,
       (select coalesce(jsonb_agg(jsonb_build_object('created_at', l.created_at at time zone 'UTC',
            'by', jsonb_build_object('username', fan.username, 'email', fan.email, 'created_at', fan.created_at at time zone 'UTC')) order by l.id), '[]')
        from commentlike l join "user" fan on fan.id = l.user_id where l.comment_id = c.id) as likes
from comment c
left join "user" u on u.id = c.user_id
left join "user" r on r.id = c.reviewed_by
left join project p on c.entity_type = 'project' and p.id = c.entity_id
left join "user" owner on owner.id = p.author_id
where c.url is not null or p.id is not null
order by c.id
