-- The tables that the older service makes from its models at its start, each only where it is missing
-- and its indexes only with it: no defaults but the ids', no rules on delete, no checks, no partial or
-- composite unique indexes, "user".date_of_birth a timestamp, project.primary_image_id with two foreign keys.
-- No views and no schema_version. A reconstruction for tests.
-- Applied to an empty database: version 017 as made by the models alone.
-- Applied after 000 to 007: the tables of 008 to 016 (then 008 to 017 by hand, failures passed over).

do $models$
begin
    if to_regclass('"user"') is null then
        create table "user" (
            id                   serial primary key,
            username             varchar not null,
            email                varchar not null,
            hashed_password      varchar not null,
            firstname            varchar not null,
            lastname             varchar not null,
            date_of_birth        timestamp,
            status               varchar,
            type                 integer,
            created_at           timestamp not null,
            updated_at           timestamp not null,
            last_login           timestamp,
            force_password_reset boolean,
            password_reset_code  varchar,
            code_expires_at      timestamp,
            profile_picture      varchar,
            location             varchar,
            bio                  text
        );
        create index ix_user_id on "user" (id);
        create unique index ix_user_username on "user" (username);
        create unique index ix_user_email on "user" (email);
    end if;
    if to_regclass('accountlog') is null then
        create table accountlog (
            id            serial primary key,
            user_id       integer not null references "user" (id),
            action        varchar not null,
            field_changed varchar,
            old_value     varchar,
            new_value     varchar,
            changed_by    integer references "user" (id),
            changed_at    timestamp,
            ip_address    varchar,
            user_agent    varchar
        );
        create index ix_accountlog_id on accountlog (id);
        create index ix_accountlog_user_id on accountlog (user_id);
    end if;
    if to_regclass('"like"') is null then
        create table "like" (
            id          serial primary key,
            user_id     integer not null references "user" (id),
            url         varchar,
            created_at  timestamp,
            entity_type varchar(50),
            entity_id   integer
        );
        create index ix_like_id on "like" (id);
        create index ix_like_url on "like" (url);
        create index ix_like_user_id on "like" (user_id);
    end if;
    if to_regclass('"comment"') is null then
        create table "comment" (
            id                serial primary key,
            user_id           integer not null references "user" (id),
            url               varchar,
            content           text not null,
            created_at        timestamp,
            is_flagged        boolean,
            flag_count        integer,
            flag_reasons      text,
            is_hidden         boolean,
            reviewed_at       timestamp,
            reviewed_by       integer references "user" (id),
            edited_at         timestamp,
            is_removed        boolean,
            removed_at        timestamp,
            like_count        integer,
            parent_comment_id integer references "comment" (id),
            reply_count       integer,
            entity_type       varchar(50),
            entity_id         integer
        );
        create index ix_comment_id on "comment" (id);
        create index ix_comment_url on "comment" (url);
        create index ix_comment_user_id on "comment" (user_id);
        create index ix_comment_parent_comment_id on "comment" (parent_comment_id);
    end if;
    if to_regclass('commentversion') is null then
        create table commentversion (
            id         serial primary key,
            comment_id integer not null references "comment" (id),
            content    text not null,
            edited_at  timestamp
        );
        create index ix_commentversion_id on commentversion (id);
        create index ix_commentversion_comment_id on commentversion (comment_id);
    end if;
    if to_regclass('commentlike') is null then
        create table commentlike (
            id         serial primary key,
            comment_id integer not null references "comment" (id),
            user_id    integer not null references "user" (id),
            created_at timestamp
        );
        create index ix_commentlike_id on commentlike (id);
        create index ix_commentlike_comment_id on commentlike (comment_id);
        create index ix_commentlike_user_id on commentlike (user_id);
    end if;
    if to_regclass('pageview') is null then
        create table pageview (
            id         serial primary key,
            url        varchar not null,
            ip_address varchar,
            viewed_at  timestamp,
            user_agent text
        );
        create index ix_pageview_id on pageview (id);
        create index ix_pageview_url on pageview (url);
        create index ix_pageview_ip_address on pageview (ip_address);
        create index ix_pageview_viewed_at on pageview (viewed_at);
    end if;
    if to_regclass('project') is null then
        create table project (
            id               serial primary key,
            title            varchar(255) not null,
            description      text,
            author_id        integer not null references "user" (id),
            status           varchar(20),
            background       text,
            code_link        varchar(500),
            created_at       timestamp,
            updated_at       timestamp,
            primary_image_id integer,
            view_count       integer,
            download_count   integer,
            like_count       integer,
            comment_count    integer
        );
        create index ix_project_id on project (id);
        create index ix_project_author_id on project (author_id);
        create index ix_project_status on project (status);
    end if;
    if to_regclass('project_tag') is null then
        create table project_tag (
            id         serial primary key,
            project_id integer not null references project (id),
            tag_name   varchar(100) not null
        );
        create index ix_project_tag_id on project_tag (id);
        create index ix_project_tag_project_id on project_tag (project_id);
        create index ix_project_tag_tag_name on project_tag (tag_name);
    end if;
    if to_regclass('project_step') is null then
        create table project_step (
            id          serial primary key,
            project_id  integer not null references project (id),
            step_number integer not null,
            title       varchar(255) not null,
            content     text not null,
            created_at  timestamp
        );
        create index ix_project_step_id on project_step (id);
        create index ix_project_step_project_id on project_step (project_id);
    end if;
    if to_regclass('bill_of_material') is null then
        create table bill_of_material (
            id          serial primary key,
            project_id  integer not null references project (id),
            item_name   varchar(255) not null,
            description text,
            quantity    integer,
            price_cents integer,
            item_order  integer
        );
        create index ix_bill_of_material_id on bill_of_material (id);
        create index ix_bill_of_material_project_id on bill_of_material (project_id);
    end if;
    if to_regclass('component') is null then
        create table component (
            id            serial primary key,
            name          varchar(255) not null,
            description   text,
            datasheet_url varchar(500),
            created_at    timestamp
        );
        create index ix_component_id on component (id);
        create unique index ix_component_name on component (name);
    end if;
    if to_regclass('project_component') is null then
        create table project_component (
            id           serial primary key,
            project_id   integer not null references project (id),
            component_id integer not null references component (id),
            quantity     integer,
            notes        text
        );
        create index ix_project_component_id on project_component (id);
        create index ix_project_component_project_id on project_component (project_id);
        create index ix_project_component_component_id on project_component (component_id);
    end if;
    if to_regclass('project_file') is null then
        create table project_file (
            id                serial primary key,
            project_id        integer not null references project (id),
            filename          varchar(255) not null,
            original_filename varchar(255) not null,
            file_size         integer,
            file_type         varchar(100),
            description       text,
            uploaded_at       timestamp
        );
        create index ix_project_file_id on project_file (id);
        create index ix_project_file_project_id on project_file (project_id);
    end if;
    if to_regclass('project_image') is null then
        create table project_image (
            id                serial primary key,
            project_id        integer not null references project (id),
            filename          varchar(255) not null,
            original_filename varchar(255) not null,
            display_order     integer,
            caption           text,
            uploaded_at       timestamp
        );
        create index ix_project_image_id on project_image (id);
        create index ix_project_image_project_id on project_image (project_id);
    end if;
    if to_regclass('project_link') is null then
        create table project_link (
            id          serial primary key,
            project_id  integer not null references project (id),
            url         varchar(500) not null,
            title       varchar(255) not null,
            link_type   varchar(50),
            description text
        );
        create index ix_project_link_id on project_link (id);
        create index ix_project_link_project_id on project_link (project_id);
    end if;
    if to_regclass('tool_material') is null then
        create table tool_material (
            id         serial primary key,
            project_id integer not null references project (id),
            name       varchar(255) not null,
            tool_type  varchar(20),
            notes      text
        );
        create index ix_tool_material_id on tool_material (id);
        create index ix_tool_material_project_id on tool_material (project_id);
    end if;
    if not exists (select from pg_constraint where conrelid = 'project'::regclass and confrelid = 'project_image'::regclass) then
        alter table project add foreign key (primary_image_id) references project_image (id);
        alter table project add constraint fk_project_primary_image foreign key (primary_image_id) references project_image (id);
    end if;
end
$models$;
