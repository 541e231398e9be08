-- The published projects and the viewer's ($1) own drafts that fit, a page of
-- them and their number. SORT_KEY and KEY_TYPE are those of the order. A page
-- begins after the project with the key $7 and the id $8, or at an offset; $11
-- asks for those that admins feature. A search is BOUND to the newest that fit, of
-- which HELD makes one list for the page and the number.
with fitting as HELD (
    select p.*, SORT_KEY as sort_key
    from (
        select p.*, s.words
        from project p left join project_search s on s.project_id = p.id
        where (p.status = 'published' or p.author_id = $1)
          and ($2 = '' or p.status = $2)
          and ($3 = '' or exists (select from project_tag t where t.project_id = p.id and t.tag_name = $3))
          and ($4::integer is null or p.author_id = $4)
          and ($5 = '' or lower(p.difficulty_level) = lower($5))
          and (not $11 or p.featured_at is not null)
          and (cardinality($6::text[]) = 0 or s.words @@ search_query($6))
        BOUND
    ) p
), page as (
    select * from fitting
    where $7::text is null or (sort_key, id) < ($7::text::KEY_TYPE, $8::integer)
    order by sort_key desc, id desc limit $9 offset $10
)
select p.id, p.title, p.description, p.author_id, u.username as author_username, p.status, p.created_at, p.updated_at,
       p.view_count, p.download_count, p.like_count, p.comment_count, p.difficulty_level, p.estimated_time, p.primary_image_id,
       null as primary_image_url, PICTURE, p.sort_key::text as sort_key,
       -- What everybody asks for is tallied.
       case when $2 <> 'draft' and $4::integer is null and $5 = '' and cardinality($6::text[]) = 0
            then coalesce((select project_count from tag_tally where tag_name = $3), 0)
               + (select count(*) from project d where d.author_id = $1 and d.status = 'draft' and $2 = ''
                  and ($3 = '' or exists (select from project_tag t where t.project_id = d.id and t.tag_name = $3)))
            else (select count(*) from fitting) end as total,
       array(select t.tag_name from project_tag t where t.project_id = p.id order by t.id)::text[] as tags
from page p join "user" u on u.id = p.author_id left join project_image i on i.id = p.primary_image_id
order by p.sort_key desc, p.id desc
