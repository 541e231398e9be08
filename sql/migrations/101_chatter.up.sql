-- What Chatter adds to the older service's tables.

-- Names and addresses are unique without regard to case. Accounts of the older
-- service that differ from an earlier one in case alone keep working: they are
-- marked, and sign in with their exact spelling.
alter table "user" add username_double boolean not null default false, add email_double boolean not null default false;
update "user" set username_double = name_place > 1, email_double = email_place > 1 from (
    select id, row_number() over (partition by lower(username) order by id) as name_place,
               row_number() over (partition by lower(email) order by id) as email_place
    from "user") place
where place.id = "user".id and (name_place > 1 or email_place > 1);
create unique index user_username_lower_key on "user" (lower(username)) where not username_double;
create unique index user_email_lower_key on "user" (lower(email)) where not email_double;
create index user_username_lower_idx on "user" (lower(username));
create index user_email_lower_idx on "user" (lower(email));

-- The accounts that have not signed in since the older service.
create index user_older_hash_idx on "user" (id) where hashed_password like '$2%';

-- A page that was renamed answers under its old URL as well.
create table page_alias (
    old_url    varchar primary key,
    new_url    varchar not null check (new_url <> old_url),
    created_at timestamp not null default now()
);
create index page_alias_new_url_idx on page_alias (new_url);

-- A session is one sign-in on one device; its id is the jti of its tokens.
create table session (
    id           uuid primary key default gen_random_uuid(),
    user_id      integer not null references "user" on delete cascade,
    created_at   timestamp not null default now(),
    last_seen_at timestamp not null default now(),
    ip_address   varchar,
    user_agent   varchar
);
create index session_user_id_idx on session (user_id);

alter table project add difficulty_level varchar(50), add estimated_time varchar(50);

alter table bill_of_material add link varchar(500);

-- The counters are kept by the database itself, in the transaction of the row
-- that they count, so that they can't drift, whoever writes.

create function count_like() returns trigger language plpgsql as $$
declare
    l record := coalesce(new, old);
begin
    if l.entity_type = 'project' then
        update project set like_count = like_count + case tg_op when 'INSERT' then 1 else -1 end where id = l.entity_id;
    end if;
    return null;
end $$;
create trigger count_like after insert or delete on "like" for each row execute function count_like();

create function count_comment_like() returns trigger language plpgsql as $$
begin
    update comment set like_count = like_count + case tg_op when 'INSERT' then 1 else -1 end
    where id = coalesce(new.comment_id, old.comment_id);
    return null;
end $$;
create trigger count_comment_like after insert or delete on commentlike for each row execute function count_comment_like();

-- Only visible comments count: as replies of their parent, and as comments of
-- their project.
create function count_comment() returns trigger language plpgsql as $$
declare
    c record := coalesce(new, old);
    was integer := case when tg_op = 'INSERT' or old.is_hidden or old.is_removed then 0 else 1 end;
    now_is integer := case when tg_op = 'DELETE' or new.is_hidden or new.is_removed then 0 else 1 end;
begin
    if was <> now_is then
        update comment set reply_count = reply_count + now_is - was where id = c.parent_comment_id;
        if c.entity_type = 'project' then
            update project set comment_count = comment_count + now_is - was where id = c.entity_id;
        end if;
    end if;
    return null;
end $$;
create trigger count_comment after insert or delete or update of is_hidden, is_removed on comment
    for each row execute function count_comment();

-- A project is as new as its newest part.
create function touch_project() returns trigger language plpgsql as $$
begin
    update project set updated_at = now() where id = coalesce(new.project_id, old.project_id);
    return null;
end $$;
create trigger touch_project after insert or update or delete on project_step for each row execute function touch_project();
create trigger touch_project after insert or update or delete on bill_of_material for each row execute function touch_project();
create trigger touch_project after insert or update or delete on project_component for each row execute function touch_project();
create trigger touch_project after insert or update or delete on project_file for each row execute function touch_project();
create trigger touch_project after insert or update or delete on project_image for each row execute function touch_project();
create trigger touch_project after insert or update or delete on project_link for each row execute function touch_project();
create trigger touch_project after insert or update or delete on tool_material for each row execute function touch_project();
