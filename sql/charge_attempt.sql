-- Counts one failure in a row and returns how many there are now; no row while
-- there is a lock. $1 key, $2 account or 0, $3 now, $4 what is before is
-- forgotten, $5 failures before the first lock, $6 its length, $7 the longest.
insert into failed_attempt as f (key, user_id, failures, last_at) values ($1, nullif($2, 0), 1, $3)
on conflict (key) do update set
    user_id = excluded.user_id,
    failures = case when f.last_at < $4 then 1 else f.failures + 1 end,
    last_at = $3,
    locked_until = case when f.last_at >= $4 and f.failures + 1 >= $5
        then $3::timestamp + least($6::interval * 2 ^ least(f.failures + 1 - $5, 10), $7::interval) end
where f.locked_until is null or f.locked_until <= $3
returning failures
