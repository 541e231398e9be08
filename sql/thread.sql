-- Every comment of the target $1 to $3, oldest first, as the viewer $4 sees it.
select c.id, c.url, c.entity_type, c.entity_id, c.content, c.created_at, c.edited_at, c.user_id,
       u.username, u.profile_picture, c.like_count, c.parent_comment_id, c.reply_count,
       not (c.is_hidden or c.is_removed) as visible,
       exists (select from commentlike l where l.comment_id = c.id and l.user_id = $4) as user_has_liked
from comment c join "user" u on u.id = c.user_id
where c.url = coalesce((select new_url from page_alias where old_url = $1::text), $1::text) or c.entity_type = $2 and c.entity_id = $3
order by c.created_at, c.id
