-- How many published projects there are, and how many of them have a tag, so
-- that lists need not count them. The row without a name is for all.
create table tag_tally (
    tag_name      varchar(100) primary key,
    project_count integer not null
);
insert into tag_tally (tag_name, project_count)
    select '', count(*) from project where status = 'published'
    union all
    select tag_name, count(*) from project_tag join project p on p.id = project_id where p.status = 'published' group by tag_name;
create index tag_tally_ranking_idx on tag_tally (project_count desc, tag_name);

-- Adds to the tallies of tags. Who changes any of them goes on to its commit
-- alone: a change takes some away and adds others, and two of them could wait
-- for each other.
create function tally_tags(tags text[], step integer) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('tag_tally', 0));
    insert into tag_tally as t (tag_name, project_count)
        select name, count(*) * step from unnest(tags) name group by name
        on conflict (tag_name) do update set project_count = t.project_count + excluded.project_count;
end $$;

create function tally_project() returns trigger language plpgsql as $$
declare
    p project := coalesce(new, old);
    was integer := case when tg_op <> 'INSERT' and old.status = 'published' then 1 else 0 end;
    now_is integer := case when tg_op <> 'DELETE' and new.status = 'published' then 1 else 0 end;
begin
    if was <> now_is then
        perform tally_tags(array(select tag_name::text from project_tag where project_id = p.id) || ''::text, now_is - was);
    end if;
    return p;
end $$;
create trigger tally_new_project after insert on project for each row execute function tally_project();
create trigger tally_project after update of status on project for each row execute function tally_project();
-- Before its tags go with it.
create trigger tally_old_project before delete on project for each row execute function tally_project();

create function tally_project_tags() returns trigger language plpgsql as $$
begin
    perform tally_tags(array_agg(tag_name::text), case tg_op when 'INSERT' then 1 else -1 end)
    from changed join project p on p.id = project_id where p.status = 'published' having count(*) > 0;
    return null;
end $$;
create trigger tally_after_insert after insert on project_tag referencing new table as changed for each statement execute function tally_project_tags();
create trigger tally_after_delete after delete on project_tag referencing old table as changed for each statement execute function tally_project_tags();

-- The feed of projects.
create index project_updated_at_idx on project (updated_at desc, id desc) where status = 'published';
