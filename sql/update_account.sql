-- Changes an account and writes one audit row for every field that differs.
with old as (
    select * from "user" where id = $1
), new as (
    update "user" set firstname = $2, lastname = $3, date_of_birth = $4, email = $5::varchar, email_double = email_double and lower(email) = lower($5::varchar), email_verified = email_verified and lower(email) = lower($5::varchar), pending_email = $10, location = $6, bio = $7, updated_at = now()
    where id = $1
    returning *
), log as (
    insert into accountlog (user_id, action, field_changed, old_value, new_value, changed_by, ip_address, user_agent)
    select $1, 'updated', field, was, is_now, $1, $8, $9
    from old, new, lateral (values
        ('firstname', old.firstname, new.firstname),
        ('lastname', old.lastname, new.lastname),
        ('date_of_birth', old.date_of_birth::varchar, new.date_of_birth::varchar),
        ('email', old.email, new.email),
        ('location', old.location, new.location),
        ('bio', old.bio, new.bio)) change (field, was, is_now)
    where was is distinct from is_now
)
select updated_at from new
