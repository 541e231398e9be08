-- Accounts, each with how many there are in all. $1 pattern,
-- $2 the text searched for or #id, $3 which to show, $4 now; the order,
-- the limit $5 and the offset $6 follow.
select id, username, firstname, lastname, email, status, type, force_password_reset, created_at, last_login,
       email_verified, totp_confirmed_at is not null as two_factor, locked_until, username_double or email_double as double, count(*) over () as total
from "user" u
left join lateral (
    select max(f.locked_until) as locked_until from failed_attempt f where f.user_id = u.id and f.locked_until > $4
) l on true
where ($2 = '' or '#' || id = $2 or id::varchar = $2 or username ilike $1 or email ilike $1 or firstname || ' ' || lastname ilike $1)
  and case $3
      when 'active' then status = 'active'
      when 'inactive' then status = 'inactive'
      when 'admins' then type = 1
      when 'unverified' then not email_verified
      when 'locked' then locked_until is not null
      when 'doubles' then exists (select from "user" o where (o.username_double or o.email_double)
          and (lower(o.username) = lower(u.username) or lower(o.email) = lower(u.email)))
      else true end
