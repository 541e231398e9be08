-- Verified addresses, second factors, and consent.
alter table "user"
    -- The accounts that are there count as verified; new ones start unverified.
    add email_verified    boolean not null default true,
    add pending_email     varchar,   -- the new address, until it is confirmed
    add totp_secret       bytea,     -- sealed
    add totp_confirmed_at timestamp, -- null while it is being set up
    add totp_step         bigint not null default 0, -- of the last code that was taken
    add terms_version     varchar,
    add terms_accepted_at timestamp;
alter table "user" alter email_verified set default false;

create table backup_code (
    user_id integer not null references "user" on delete cascade,
    hash    bytea not null,
    primary key (user_id, hash)
);

-- Links that were sent by mail: each works once, until it expires, and as long
-- as the account has the address that it was sent to.
create table mail_token (
    hash       bytea primary key,
    user_id    integer not null references "user" on delete cascade,
    purpose    varchar not null check (purpose in ('verify', 'change', 'reset', 'unlock')),
    email      varchar not null,
    expires_at timestamp not null
);
create index mail_token_user_id_idx on mail_token (user_id);
create index mail_token_expires_at_idx on mail_token (expires_at);

-- Failed attempts in a row: at a name that was typed (known or not) from
-- anywhere, or at an account from one browser. The key is a keyed hash.
create table failed_attempt (
    key          bytea primary key,
    user_id      integer references "user" on delete cascade,
    failures     integer not null,
    last_at      timestamp not null,
    locked_until timestamp
);
create index failed_attempt_user_id_idx on failed_attempt (user_id);
create index failed_attempt_last_at_idx on failed_attempt (last_at);

create index session_last_seen_at_idx on session (last_seen_at);
create index accountlog_changed_at_idx on accountlog (changed_at);
create index user_created_at_idx on "user" (created_at, id);

-- The name of a deleted account is never given out again; its hash is all that
-- is kept of it.
create table retired_name (
    hash bytea primary key
);
create function retire_name() returns trigger language plpgsql as $$
begin
    insert into retired_name values (sha256(convert_to(lower(old.username), 'UTF8'))) on conflict do nothing;
    return null;
end $$;
create trigger retire_name after delete on "user" for each row execute function retire_name();

create function refuse_retired_name() returns trigger language plpgsql as $$
begin
    if exists (select from retired_name where hash = sha256(convert_to(lower(new.username), 'UTF8'))) then
        raise exception 'the name belonged to a deleted account'
            using errcode = 'unique_violation', constraint = 'user_username_key';
    end if;
    return new;
end $$;
create trigger refuse_retired_name before insert on "user" for each row execute function refuse_retired_name();
