drop trigger index_project on project;
create trigger index_project after update of title, description, background, author_id on project for each row
    when (row(old.title, old.description, old.background, old.author_id) is distinct from row(new.title, new.description, new.background, new.author_id))
    execute function index_project();

create or replace function index_projects(ids integer[]) returns void language sql as $$
    insert into project_search (project_id, words)
    select p.id, search_words(p.title, 'A') || search_words(left(concat_ws(' ', u.username,
               (select string_agg(tag_name, ' ') from project_tag where project_id = p.id),
               (select string_agg(c.name, ' ') from project_component pc join component c on c.id = pc.component_id where pc.project_id = p.id)), 20000), 'B')
           || search_words(left(p.description, 20000), 'C')
           || search_words(left(concat_ws(' ', p.background, (select string_agg(title || ' ' || content, ' ' order by step_number) from project_step where project_id = p.id)), 40000), 'D')
    from project p join "user" u on u.id = p.author_id where p.id = any(ids)
    on conflict (project_id) do update set words = excluded.words
$$;

alter table project_search drop column draft_of;
