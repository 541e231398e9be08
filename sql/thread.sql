-- Every comment of the target $1 to $3, in the order of writing, as the viewer
-- $4 sees it: one's own is seen while it waits for review.
select c.id, c.url, c.entity_type, c.entity_id, c.content, c.created_at, c.edited_at, coalesce(c.user_id, 0) as user_id,
       coalesce(u.username, '') as username, u.profile_picture, c.like_count, c.parent_comment_id, c.reply_count,
       c.held_for is not null as awaiting_review,
       not (c.is_hidden or c.is_removed) as counted,
       not c.is_removed and (not c.is_hidden or c.held_for is not null and c.user_id = $4) as visible,
       exists (select from commentlike l where l.comment_id = c.id and l.user_id = $4) as user_has_liked
from comment c left join "user" u on u.id = c.user_id
where c.url = coalesce((select new_url from page_alias where old_url = $1::text), $1::text) or c.entity_type = $2 and c.entity_id = $3
order by c.id
