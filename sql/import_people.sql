-- Finds the accounts of everybody whom the comments in the table incoming name.
-- A name alone proves nothing: the same one can be somebody else's here. With
-- it has to fit the address or, where that has changed, the moment when the
-- account was made.
analyze incoming;
create temp table person on commit drop as
    select who, bool_or(writes) as writes, null::integer as user_id, false as made from (
        select author as who, true as writes from incoming where author is not null
        union all select reviewed_by, false from incoming where reviewed_by is not null
        union all select l -> 'by', false from incoming, jsonb_array_elements(likes) l
    ) named group by who;
update person set user_id = (
    select id from "user" u
    where lower(u.username) = lower(who ->> 'username')
      and (lower(u.email) = lower(who ->> 'email') or u.created_at = (who ->> 'created_at')::timestamptz at time zone 'UTC')
    order by u.username = who ->> 'username' desc, u.username_double limit 1);
