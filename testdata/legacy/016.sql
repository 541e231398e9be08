-- The older service's database, version 016: projects and their parts.
-- A reconstruction for tests. Apply after the versions before it.

create table if not exists project (
    id               serial primary key,
    title            varchar(255) not null,
    description      text,
    author_id        integer not null references "user" (id) on delete cascade,
    status           varchar(20) default 'draft' constraint project_status_check check (status in ('draft', 'published')),
    background       text,
    code_link        varchar(500),
    created_at       timestamp default now(),
    updated_at       timestamp default now(),
    primary_image_id integer,
    view_count       integer default 0,
    download_count   integer default 0,
    like_count       integer default 0,
    comment_count    integer default 0
);
create index if not exists idx_project_author_id on project (author_id);
create index if not exists idx_project_status on project (status);
create index if not exists idx_project_created_at on project (created_at);

create table if not exists project_tag (
    id         serial primary key,
    project_id integer not null references project (id) on delete cascade,
    tag_name   varchar(100) not null,
    constraint unique_project_tag unique (project_id, tag_name)
);
create index if not exists idx_project_tag_project_id on project_tag (project_id);
create index if not exists idx_project_tag_tag_name on project_tag (tag_name);

create table if not exists project_step (
    id          serial primary key,
    project_id  integer not null references project (id) on delete cascade,
    step_number integer not null,
    title       varchar(255) not null,
    content     text not null,
    created_at  timestamp default now(),
    constraint unique_project_step unique (project_id, step_number)
);
create index if not exists idx_project_step_project_id on project_step (project_id);

create table if not exists bill_of_material (
    id          serial primary key,
    project_id  integer not null references project (id) on delete cascade,
    item_name   varchar(255) not null,
    description text,
    quantity    integer default 1,
    price_cents integer,
    item_order  integer default 0
);
create index if not exists idx_bill_of_material_project_id on bill_of_material (project_id);

create table if not exists component (
    id            serial primary key,
    name          varchar(255) not null unique,
    description   text,
    datasheet_url varchar(500),
    created_at    timestamp default now()
);
create index if not exists idx_component_name on component (name);

create table if not exists project_component (
    id           serial primary key,
    project_id   integer not null references project (id) on delete cascade,
    component_id integer not null references component (id) on delete cascade,
    quantity     integer default 1,
    notes        text,
    constraint unique_project_component unique (project_id, component_id)
);
create index if not exists idx_project_component_project_id on project_component (project_id);
create index if not exists idx_project_component_component_id on project_component (component_id);

create table if not exists project_file (
    id                serial primary key,
    project_id        integer not null references project (id) on delete cascade,
    filename          varchar(255) not null,
    original_filename varchar(255) not null,
    file_size         integer,
    file_type         varchar(100),
    description       text,
    uploaded_at       timestamp default now()
);
create index if not exists idx_project_file_project_id on project_file (project_id);

create table if not exists project_image (
    id                serial primary key,
    project_id        integer not null references project (id) on delete cascade,
    filename          varchar(255) not null,
    original_filename varchar(255) not null,
    display_order     integer default 0,
    caption           text,
    uploaded_at       timestamp default now()
);
create index if not exists idx_project_image_project_id on project_image (project_id);

alter table project add constraint fk_project_primary_image
    foreign key (primary_image_id) references project_image (id) on delete set null;

create table if not exists project_link (
    id          serial primary key,
    project_id  integer not null references project (id) on delete cascade,
    url         varchar(500) not null,
    title       varchar(255) not null,
    link_type   varchar(50) constraint project_link_link_type_check
                check (link_type in ('resource', 'video', 'course', 'article', 'related_project')),
    description text
);
create index if not exists idx_project_link_project_id on project_link (project_id);

create table if not exists tool_material (
    id         serial primary key,
    project_id integer not null references project (id) on delete cascade,
    name       varchar(255) not null,
    tool_type  varchar(20) constraint tool_material_tool_type_check check (tool_type in ('tool', 'material')),
    notes      text
);
create index if not exists idx_tool_material_project_id on tool_material (project_id);
