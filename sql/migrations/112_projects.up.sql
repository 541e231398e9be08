-- What others may do with a project, as an SPDX identifier; null: not chosen.
alter table project add license varchar(100);

-- Where a remix comes from. What it was called then stays when the origin goes,
-- or is on another installation.
alter table project
    add origin_id integer references project on delete set null,
    add origin_title varchar(255),
    add origin_author varchar(255),
    add origin_url varchar(2000),
    add origin_license varchar(100);
create index project_origin_id_idx on project (origin_id);

-- Counts the changes of a project and its parts, for those who write at once.
-- Views, downloads, likes and comments are no changes.
alter table project add revision integer not null default 1;
create function count_revision() returns trigger language plpgsql as $$
begin
    new.revision := old.revision + 1;
    return new;
end $$;
create trigger count_revision before update of title, description, status, background, code_link, difficulty_level, estimated_time, license,
    primary_image_id, updated_at on project for each row execute function count_revision();
create trigger touch_project after insert or update or delete on project_tag for each row execute function touch_project();
-- Looking at a picture of the older service for the first time is no change.
drop trigger touch_project on project_image;
create trigger touch_project after insert or delete or update of filename, original_filename, display_order, caption on project_image
    for each row execute function touch_project();

-- The pictures of a step, of the same project.
alter table project_step add constraint project_step_project_key unique (project_id, id);
alter table project_image add constraint project_image_project_key unique (project_id, id);
create table step_image (
    project_id integer not null,
    step_id    integer not null,
    image_id   integer not null,
    place      integer not null,
    primary key (step_id, image_id),
    foreign key (project_id, step_id) references project_step (project_id, id) on delete cascade,
    foreign key (project_id, image_id) references project_image (project_id, id) on delete cascade
);
create index step_image_project_id_idx on step_image (project_id, step_id);
create index step_image_image_id_idx on step_image (project_id, image_id);
create trigger touch_project after insert or update or delete on step_image for each row execute function touch_project();

-- The orders of the gallery.
create index project_likes_idx on project (like_count desc, id desc);
create index project_views_idx on project (view_count desc, id desc);
create index project_downloads_idx on project (download_count desc, id desc);

-- A text as it is searched: in lower case, without accents, and without the
-- signs of which PostgreSQL would make addresses, paths and numbers instead of
-- words. The server's own functions do it, since the extension unaccent may not
-- be there.
create function search_text(source text) returns text language plpgsql immutable strict parallel safe as $$
declare
    t text := lower(source);
    sign text;
begin
    if octet_length(t) > length(t) then
        t := regexp_replace(normalize(t, NFKD), '[\u0300-\u036f]+', '', 'g');
        t := replace(replace(replace(t, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
        t := normalize(translate(t, 'øđłħı', 'odlhi'), NFC);
    end if;
    foreach sign in array '{.,/,-,@,&,<,+,~}'::text[] loop
        t := replace(t, sign, ' ');
    end loop;
    return left(t, 80000);
end $$;

-- The words of a text twice: as they stand, for the beginnings of words, and
-- their English stems.
create function search_words(source text, weight "char") returns tsvector language sql immutable strict parallel safe as $$
    select setweight(to_tsvector('pg_catalog.simple', t) || to_tsvector('pg_catalog.english', t), weight) from search_text(source) t
$$;

-- Finds the texts that hold every word, or a word that begins so.
create function search_query(words text[]) returns tsquery language plpgsql immutable strict parallel safe as $$
declare
    word text;
    all_words tsquery := '';
begin
    foreach word in array words loop
        word := quote_literal(left(trim(search_text(word)), 400)); -- a word of a query has at most 2046 bytes
        continue when word = '''''';
        all_words := all_words && (to_tsquery('pg_catalog.simple', word || ':*') || to_tsquery('pg_catalog.english', word));
    end loop;
    return all_words;
end $$;

-- What is searched of each project, apart from its row, which changes with
-- every view. A tsvector holds at most 1 MB, hence the limit on long texts.
create table project_search (
    project_id integer primary key references project on delete cascade,
    words      tsvector not null
);

create function index_projects(ids integer[]) returns void language sql as $$
    insert into project_search (project_id, words)
    select p.id, search_words(p.title, 'A') || search_words(left(concat_ws(' ', u.username,
               (select string_agg(tag_name, ' ') from project_tag where project_id = p.id),
               (select string_agg(c.name, ' ') from project_component pc join component c on c.id = pc.component_id where pc.project_id = p.id)), 20000), 'B')
           || search_words(left(p.description, 20000), 'C')
           || search_words(left(concat_ws(' ', p.background, (select string_agg(title || ' ' || content, ' ' order by step_number) from project_step where project_id = p.id)), 40000), 'D')
    from project p join "user" u on u.id = p.author_id where p.id = any(ids)
    on conflict (project_id) do update set words = excluded.words
$$;
select index_projects(array(select id from project));
create index project_search_words_idx on project_search using gin (words);
analyze project_search;

create function index_project() returns trigger language plpgsql as $$
begin
    perform index_projects(array[new.id]);
    return null;
end $$;
create trigger index_new_project after insert on project for each row execute function index_project();
create trigger index_project after update of title, description, background, author_id on project for each row
    when (row(old.title, old.description, old.background, old.author_id) is distinct from row(new.title, new.description, new.background, new.author_id))
    execute function index_project();

-- Once for a statement, after the triggers of its rows: by then it holds the
-- rows of the projects, so that it sees what others have changed.
create function index_parts() returns trigger language plpgsql as $$
begin
    perform index_projects(array(select distinct project_id from changed));
    return null;
end $$;
create trigger index_after_insert after insert on project_tag referencing new table as changed for each statement execute function index_parts();
create trigger index_after_update after update on project_tag referencing new table as changed for each statement execute function index_parts();
create trigger index_after_delete after delete on project_tag referencing old table as changed for each statement execute function index_parts();
create trigger index_after_insert after insert on project_step referencing new table as changed for each statement execute function index_parts();
create trigger index_after_update after update on project_step referencing new table as changed for each statement execute function index_parts();
create trigger index_after_delete after delete on project_step referencing old table as changed for each statement execute function index_parts();
create trigger index_after_insert after insert on project_component referencing new table as changed for each statement execute function index_parts();
create trigger index_after_update after update on project_component referencing new table as changed for each statement execute function index_parts();
create trigger index_after_delete after delete on project_component referencing old table as changed for each statement execute function index_parts();
