-- The audit log of all accounts, each row with how many there are in all. $1
-- pattern, $2 the text searched for, $3 which to show, $4 the earliest time, if
-- the days $7 are not 0; the order, the limit $5 and the offset $6 follow.
select l.id, l.user_id, u.username, l.action, l.field_changed, l.old_value, l.new_value, b.username as changed_by, l.changed_at, l.ip_address, l.user_agent,
       count(*) over () as total
from accountlog l join "user" u on u.id = l.user_id left join "user" b on b.id = l.changed_by
where ($7 = 0 or l.changed_at >= $4)
  and ($2 = '' or u.username ilike $1 or b.username ilike $1 or l.action ilike $1 or l.ip_address = $2 or l.field_changed ilike $1 or l.old_value ilike $1 or l.new_value ilike $1)
  and case $3
      when 'admins' then l.changed_by <> l.user_id or l.action in ('user_deleted', 'page_moved', 'letter_sent_again')
      when 'access' then l.action in ('signed_in', 'signed_out', 'locked', 'unlocked', 'backup_code_used')
      when 'security' then l.action ~ '^(password|totp|backup|reset)' or l.action in ('maker_ended', 'role_changed', 'promoted')
      when 'changes' then l.action in ('created', 'updated', 'status_changed', 'role_changed', 'promoted', 'user_deleted') or l.action like 'email%'
      when 'talk' then l.action ~ '^(comment|author)'
      when 'projects' then l.action ~ '^(project|page)'
      else true end
