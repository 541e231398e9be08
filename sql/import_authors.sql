-- Makes an account for every author who has none, where the name and the
-- address are free. Nobody can sign in to it before an admin has made it active
-- and its owner has chosen a password by mail.
with made as (
    insert into "user" (username, email, hashed_password, status, created_at)
    select distinct on (lower(who ->> 'username')) who ->> 'username', who ->> 'email', '', 'inactive',
           coalesce((who ->> 'created_at')::timestamptz at time zone 'UTC', now())
    from person
    where writes and user_id is null
      and who ->> 'username' ~ '^[A-Za-z0-9_]{3,30}$' and who ->> 'email' ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:]]+$'
      and not exists (select from "user" u where lower(u.username) = lower(who ->> 'username') or lower(u.email) = lower(who ->> 'email'))
      and not exists (select from retired_name where hash = sha256(convert_to(lower(who ->> 'username'), 'UTF8')))
    on conflict do nothing
    returning id, username, email
), logged as (
    insert into accountlog (user_id, action, ip_address, user_agent) select id, 'created', 'console', 'chatter comments import' from made
)
update person set user_id = made.id, made = true from made
where user_id is null and lower(who ->> 'username') = lower(made.username) and lower(who ->> 'email') = lower(made.email)
