-- The ledger of stored files: one row for each, whoever names it. A file is
-- "saving" until a row names it, "kept" as long as one does, and "removing" from
-- then on until its bytes are gone.
create table media_file (
    folder   varchar not null,
    name     varchar not null,
    size     bigint,
    sha256   varchar(64), -- in hexadecimal; unknown of the older service's files until they are verified
    state    varchar not null check (state = 'saving' or state = 'kept' or state = 'removing'),
    noted_at timestamp not null default now(),
    primary key (folder, name)
);
create index media_file_unsettled_idx on media_file (state, noted_at) where state <> 'kept';

-- What is known of a picture once it has been looked at; a width of 0 says that
-- it can't be read.
alter table project_image add width integer, add height integer, add colour varchar(7), add animated boolean;

-- What a browser calls an upload, so that one that is sent again is not kept twice.
alter table project_file add upload_id varchar(100);
alter table project_image add upload_id varchar(100);
create unique index project_file_upload_key on project_file (project_id, upload_id);
create unique index project_image_upload_key on project_image (project_id, upload_id);

-- The sizes of a picture that are shown, without what cameras write into them.
-- The whole one has all pixels.
create table image_size (
    image_id integer not null references project_image on delete cascade,
    width    integer not null,
    height   integer not null,
    whole    boolean not null,
    filename varchar(255) not null,
    primary key (image_id, width)
);
create index image_size_filename_idx on image_size (filename);
create index project_file_filename_idx on project_file (filename);
create index project_image_filename_idx on project_image (filename);
create index user_profile_picture_idx on "user" (profile_picture) where profile_picture <> '';

insert into media_file (folder, name, size, state)
    select 'projects/files', filename, nullif(max(file_size), 0), 'kept' from project_file where filename <> '' group by filename
    union all select distinct 'projects/images', filename, null::bigint, 'kept' from project_image where filename <> ''
    union all select distinct 'profile_pictures', profile_picture, null::bigint, 'kept' from "user" where profile_picture <> '';

-- The ledger follows the rows, in their transaction, whoever writes and however
-- rows go. The arguments are the folder and the column with the name.
create function note_media() returns trigger language plpgsql as $$
declare
    was varchar := case when tg_op <> 'INSERT' then to_jsonb(old) ->> tg_argv[1] end;
    is_now varchar := case when tg_op <> 'DELETE' then to_jsonb(new) ->> tg_argv[1] end;
begin
    if was is not distinct from is_now then
        return null;
    end if;
    insert into media_file (folder, name, state)
        select tg_argv[0], name, state from (values (was, 'removing'), (is_now, 'kept')) v (name, state) where name <> ''
        on conflict (folder, name) do update set state = excluded.state, noted_at = excluded.noted_at;
    return null;
end $$;
create trigger note_media after insert or delete or update of filename on project_file
    for each row execute function note_media('projects/files', 'filename');
create trigger note_media after insert or delete or update of filename on project_image
    for each row execute function note_media('projects/images', 'filename');
create trigger note_media after insert or delete or update of filename on image_size
    for each row execute function note_media('projects/images', 'filename');
create trigger note_media after insert or delete or update of profile_picture on "user"
    for each row execute function note_media('profile_pictures', 'profile_picture');
