-- The older service's database, version 001: the account columns and the log once more, changing nothing where 000 ran.
-- A reconstruction for tests. Apply after the versions before it.

alter table "user" add column if not exists firstname varchar not null default '';
alter table "user" add column if not exists lastname varchar not null default '';
alter table "user" add column if not exists date_of_birth date;
alter table "user" add column if not exists status varchar default 'active' check (status in ('active', 'inactive'));
alter table "user" add column if not exists type integer default 0;
alter table "user" add column if not exists created_at timestamp not null default now();
alter table "user" add column if not exists updated_at timestamp not null default now();

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
create index if not exists idx_accountlog_changed_at on accountlog (changed_at);
