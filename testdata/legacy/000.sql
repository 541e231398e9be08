-- The older service's database, version 000: accounts, their log, likes and comments.
-- A reconstruction for tests. Apply to an empty database; 000 to N in order give state N.

create table if not exists "user" (
    id              serial primary key,
    username        varchar not null unique,
    email           varchar not null unique,
    hashed_password varchar not null,
    firstname       varchar not null default '',
    lastname        varchar not null default '',
    date_of_birth   date,
    status          varchar default 'active' constraint user_status_check check (status in ('active', 'inactive')),
    type            integer default 0,
    created_at      timestamp not null default now(),
    updated_at      timestamp not null default now(),
    last_login      timestamp
);

create table if not exists accountlog (
    id            serial primary key,
    user_id       integer not null references "user" (id) on delete cascade,
    action        varchar not null,
    field_changed varchar,
    old_value     varchar,
    new_value     varchar,
    changed_by    integer references "user" (id) on delete set null,
    changed_at    timestamp default now(),
    ip_address    varchar,
    user_agent    varchar
);
create index if not exists idx_accountlog_user_id on accountlog (user_id);

create table if not exists "like" (
    id      serial primary key,
    user_id integer not null references "user" (id) on delete cascade,
    url     varchar not null
);
create index if not exists idx_like_url on "like" (url);

create table if not exists "comment" (
    id         serial primary key,
    user_id    integer not null references "user" (id) on delete cascade,
    url        varchar not null,
    content    text not null,
    created_at timestamp default now()
);
create index if not exists idx_comment_url on "comment" (url);
create index if not exists idx_comment_user_id on "comment" (user_id);
