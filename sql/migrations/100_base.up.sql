-- The tables of the older service at its newest state, under their old names
-- and types, so that either service can work on one database.
-- Times are UTC without a zone. The checks are written with `or`, which
-- PostgreSQL prints back as it was, so that the takeover can repeat it.

-- What taking over an older database had to leave out or change so that its
-- rows fit the rules below, each row as it was before.
create table merged_row (
    id         serial primary key,
    table_name varchar not null,
    row_id     integer not null,
    row_data   jsonb not null,
    reason     varchar not null,
    merged_at  timestamp not null default now()
);

create table "user" (
    id                   serial primary key,
    username             varchar not null unique,
    email                varchar not null unique,
    hashed_password      varchar not null,
    firstname            varchar not null default '',
    lastname             varchar not null default '',
    date_of_birth        date,
    status               varchar not null default 'active' check (status = 'active' or status = 'inactive'),
    type                 integer not null default 0,
    created_at           timestamp not null default now(),
    updated_at           timestamp not null default now(),
    last_login           timestamp,
    force_password_reset boolean not null default false,
    password_reset_code  varchar,
    code_expires_at      timestamp,
    profile_picture      varchar,
    location             varchar,
    bio                  text
);

create table accountlog (
    id            serial primary key,
    user_id       integer not null references "user" on delete cascade,
    action        varchar not null,
    field_changed varchar,
    old_value     varchar,
    new_value     varchar,
    changed_by    integer references "user" on delete set null,
    changed_at    timestamp not null default now(),
    ip_address    varchar,
    user_agent    varchar
);
create index accountlog_user_id_idx on accountlog (user_id);
create index accountlog_changed_by_idx on accountlog (changed_by);

create table "like" (
    id          serial primary key,
    user_id     integer not null references "user" on delete cascade,
    url         varchar,
    created_at  timestamp not null default now(),
    entity_type varchar(50),
    entity_id   integer,
    unique (url, user_id),
    constraint like_target_check check (
        url is not null and entity_type is null and entity_id is null or
        url is null and entity_type is not null and entity_id is not null)
);
create unique index like_entity_user_key on "like" (entity_type, entity_id, user_id) where entity_type is not null;
create index like_user_id_idx on "like" (user_id);

create table comment (
    id                serial primary key,
    user_id           integer not null references "user" on delete cascade,
    url               varchar,
    content           text not null,
    created_at        timestamp not null default now(),
    is_flagged        boolean not null default false,
    flag_count        integer not null default 0,
    flag_reasons      text,
    is_hidden         boolean not null default false,
    reviewed_at       timestamp,
    reviewed_by       integer references "user" on delete set null,
    edited_at         timestamp,
    is_removed        boolean not null default false,
    removed_at        timestamp,
    like_count        integer not null default 0,
    parent_comment_id integer references comment on delete cascade,
    reply_count       integer not null default 0,
    entity_type       varchar(50),
    entity_id         integer,
    constraint comment_target_check check (
        url is not null and entity_type is null and entity_id is null or
        url is null and entity_type is not null and entity_id is not null)
);
create index comment_url_idx on comment (url, created_at) where url is not null;
create index comment_entity_idx on comment (entity_type, entity_id, created_at) where entity_type is not null;
create index comment_user_id_idx on comment (user_id, created_at);
create index comment_parent_comment_id_idx on comment (parent_comment_id);
create index comment_reviewed_by_idx on comment (reviewed_by);

create table commentversion (
    id         serial primary key,
    comment_id integer not null references comment on delete cascade,
    content    text not null,
    edited_at  timestamp not null default now()
);
create index commentversion_comment_id_idx on commentversion (comment_id);

create table commentlike (
    id         serial primary key,
    comment_id integer not null references comment on delete cascade,
    user_id    integer not null references "user" on delete cascade,
    created_at timestamp not null default now(),
    unique (comment_id, user_id)
);
create index commentlike_user_id_idx on commentlike (user_id);

create table pageview (
    id         serial primary key,
    url        varchar not null,
    ip_address varchar,
    viewed_at  timestamp not null default now(),
    user_agent text
);
create index pageview_url_idx on pageview (url, viewed_at);
create index pageview_viewed_at_idx on pageview (viewed_at);

create table project (
    id               serial primary key,
    title            varchar(255) not null,
    description      text not null,
    author_id        integer not null references "user" on delete cascade,
    status           varchar(20) not null default 'draft' check (status = 'draft' or status = 'published'),
    background       text,
    code_link        varchar(500),
    created_at       timestamp not null default now(),
    updated_at       timestamp not null default now(),
    primary_image_id integer,
    view_count       integer not null default 0,
    download_count   integer not null default 0,
    like_count       integer not null default 0,
    comment_count    integer not null default 0
);
create index project_author_id_idx on project (author_id);
create index project_recent_idx on project (created_at desc, id desc);

create table project_tag (
    id         serial primary key,
    project_id integer not null references project on delete cascade,
    tag_name   varchar(100) not null,
    unique (project_id, tag_name)
);
create index project_tag_tag_name_idx on project_tag (tag_name);

create table project_step (
    id          serial primary key,
    project_id  integer not null references project on delete cascade,
    step_number integer not null,
    title       varchar(255) not null,
    content     text not null,
    created_at  timestamp not null default now(),
    -- Deferrable, so that one statement can give every step a new number.
    unique (project_id, step_number) deferrable
);

create table bill_of_material (
    id          serial primary key,
    project_id  integer not null references project on delete cascade,
    item_name   varchar(255) not null,
    description text,
    quantity    integer not null default 1,
    price_cents integer,
    item_order  integer not null default 0
);
create index bill_of_material_project_id_idx on bill_of_material (project_id);

create table component (
    id            serial primary key,
    name          varchar(255) not null unique,
    description   text,
    datasheet_url varchar(500),
    created_at    timestamp not null default now()
);

create table project_component (
    id           serial primary key,
    project_id   integer not null references project on delete cascade,
    component_id integer not null references component on delete cascade,
    quantity     integer not null default 1,
    notes        text,
    unique (project_id, component_id)
);
create index project_component_component_id_idx on project_component (component_id);

create table project_file (
    id                serial primary key,
    project_id        integer not null references project on delete cascade,
    filename          varchar(255) not null,
    original_filename varchar(255) not null,
    file_size         integer not null default 0,
    file_type         varchar(100),
    description       text,
    uploaded_at       timestamp not null default now()
);
create index project_file_project_id_idx on project_file (project_id);

create table project_image (
    id                serial primary key,
    project_id        integer not null references project on delete cascade,
    filename          varchar(255) not null,
    original_filename varchar(255) not null,
    display_order     integer not null default 0,
    caption           text,
    uploaded_at       timestamp not null default now()
);
create index project_image_project_id_idx on project_image (project_id);
alter table project add constraint project_primary_image_id_fkey
    foreign key (primary_image_id) references project_image on delete set null;
create index project_primary_image_id_idx on project (primary_image_id);

create table project_link (
    id          serial primary key,
    project_id  integer not null references project on delete cascade,
    url         varchar(500) not null,
    title       varchar(255) not null,
    link_type   varchar(50) not null check (link_type = 'resource' or link_type = 'video' or link_type = 'course' or link_type = 'article' or link_type = 'related_project'),
    description text
);
create index project_link_project_id_idx on project_link (project_id);

create table tool_material (
    id         serial primary key,
    project_id integer not null references project on delete cascade,
    name       varchar(255) not null,
    tool_type  varchar(20) not null check (tool_type = 'tool' or tool_type = 'material'),
    notes      text
);
create index tool_material_project_id_idx on tool_material (project_id);
