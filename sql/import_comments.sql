-- Adds the comments of the table incoming that are not here yet, or notes the
-- reason why one can't be added.
update incoming set url = new_url from page_alias where url = old_url;
update incoming i set project_id = coalesce(
    (select p.id from project p join "user" a on a.id = p.author_id
     where lower(a.username) = lower(i.project ->> 'author') and p.created_at = (i.project ->> 'created_at')::timestamptz at time zone 'UTC'
     order by p.title = i.project ->> 'title' desc, p.id limit 1),
    (select min(p.id) from project p join "user" a on a.id = p.author_id
     where lower(a.username) = lower(i.project ->> 'author') and p.title = i.project ->> 'title' having count(*) = 1))
where project is not null;
update incoming i set user_id = person.user_id from person where who = author;
update incoming set reason = case
    when project is not null and project_id is null then 'there is no project "' || coalesce(project ->> 'title', '') || '" of ' || coalesce(project ->> 'author', 'anybody')
    when author is null then 'it has no author'
    when exists (select from "user" u where lower(u.username) = lower(author ->> 'username')) then 'the account ' || (author ->> 'username') || ' here has another e-mail address'
    else 'there is no account ' || (author ->> 'username') end
where project is not null and project_id is null
   or user_id is null and not (author is null and is_removed); -- of a deleted account a removed comment is what is left

-- Rows that others hold first are taken first. Then nobody writes comments
-- until the end of the transaction.
select count(*) from (select from "user" where id in (select user_id from person) order by id for key share) held;
select count(*) from (select from project where id in (select project_id from incoming) order by id for no key update) held;
lock table comment in share row exclusive mode;

-- A comment is here already when its author wrote one on the same page at the
-- same moment; of several, the first is the first.
create index on incoming (parent);
create index on incoming (coalesce(user_id, 0), created_at);
with given as (
    select id, url, project_id, coalesce(user_id, 0) as writer, created_at, row_number() over (partition by url, project_id, user_id, created_at order by id) as place
    from incoming where reason is null
), here as (
    select id, url, entity_id, coalesce(user_id, 0) as writer, created_at, row_number() over (partition by url, entity_id, user_id, created_at order by id) as place
    from comment c where exists (select from incoming i where coalesce(i.user_id, 0) = coalesce(c.user_id, 0) and i.created_at = c.created_at)
)
update incoming i set new_id = here.id, present = true
from given join here using (writer, created_at, place)
where i.id = given.id and here.url is not distinct from given.url and here.entity_id is not distinct from given.project_id;

update incoming i set reason = case
    when p.id is null then 'the comment that it answers is not in the file'
    when p.url is distinct from i.url or p.project_id is distinct from i.project_id then 'the comment that it answers is on another page'
    else 'it is older than the comment that it answers' end
from incoming c left join incoming p on p.id = c.parent
where i.id = c.id and i.parent is not null and i.reason is null and not i.present
  and (p.id is null or p.url is distinct from i.url or p.project_id is distinct from i.project_id or (p.created_at, p.id) >= (i.created_at, i.id));
with recursive lost (id) as (
    select id from incoming where reason is not null
    union
    select i.id from incoming i join lost on lost.id = i.parent where not i.present
)
update incoming set reason = 'the comment that it answers is skipped' where id in (select id from lost) and reason is null;

-- The comments keep their numbers, unless one of these is taken.
update incoming i set new_id = fresh.new_id from (
    select id, case when kept then id else nextval(pg_get_serial_sequence('comment', 'id')) end as new_id
    from (select id from incoming where reason is null and not present order by created_at, id) wanted,
         (select not exists (select from incoming n join comment c on c.id = n.id where n.reason is null and not n.present)
             and not exists (select from incoming n where n.parent > n.id) as kept) numbers
) fresh where fresh.id = i.id;

insert into comment (id, user_id, url, entity_type, entity_id, content, created_at, edited_at, is_hidden, is_removed, removed_at,
                     held_for, reviewed_at, reviewed_by, parent_comment_id)
select i.new_id, i.user_id, i.url, case when i.project is not null then 'project' end, i.project_id, i.content, i.created_at, i.edited_at,
       i.is_hidden, i.is_removed, i.removed_at, i.held_for, i.reviewed_at, r.user_id, p.new_id
from incoming i left join incoming p on p.id = i.parent left join person r on r.who = i.reviewed_by
where i.reason is null and not i.present order by i.new_id;
select setval(pg_get_serial_sequence('comment', 'id'), greatest(nextval(pg_get_serial_sequence('comment', 'id')), (select max(id) from comment)));

insert into commentversion (comment_id, content, edited_at)
select new_id, v ->> 'content', (v ->> 'edited_at')::timestamptz at time zone 'UTC'
from incoming, jsonb_array_elements(versions) with ordinality version (v, place)
where reason is null and not present order by new_id, place;
insert into commentlike (comment_id, user_id, created_at)
select new_id, person.user_id, (l ->> 'created_at')::timestamptz at time zone 'UTC'
from incoming, jsonb_array_elements(likes) with ordinality liked (l, place), person
where reason is null and not present and who = l -> 'by' and person.user_id is not null
order by new_id, place on conflict do nothing;
