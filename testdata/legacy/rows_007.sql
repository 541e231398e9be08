-- Rows of the older service for what versions 001 to 007 added: sign-ins, reset codes, times of likes, moderation.
-- For tests; apply after rows_000.sql at state 007 or later.

update "user" set last_login = '2023-06-01 06:00:00', force_password_reset = false where id in (1, 2);
update "user" set force_password_reset = true, password_reset_code = 'K7Q2M9XA', code_expires_at = '2022-02-02 02:02:02' where id = 3;
update "user" set force_password_reset = null where id in (5, 34);
update "user" set last_login = '2020-01-15 07:45:01' where id = 8;

-- A like's time is what it was for some and NULL for one.
update "like" set created_at = timestamp '2020-02-01 00:00:00' + id * interval '1 day' where id < 16;
update "like" set created_at = null where id = 16;

-- 8 was flagged by two (and once more by one who is gone), its count lost an update; 12 is hidden; 9 was
-- cleared; 1, 2 and 20 hold NULLs.
update "comment" set is_flagged = false, flag_count = 0, is_hidden = false;
update "comment" set is_flagged = null, flag_count = null, is_hidden = null where id in (1, 2, 20);
update "comment" set is_flagged = true, flag_count = 2, is_hidden = false, flag_reasons =
    '[{"reported_by": 2, "reason": "spam", "details": "An advertisement", "reported_at": "2020-05-07T10:00:00.123456"}, {"reported_by": 4, "reason": "other", "details": null, "reported_at": "2020-05-08T10:00:00"}, {"reported_by": 3, "reason": "abusive", "details": "\u00fc \"quoted\"", "reported_at": "2020-05-09T10:00:00"}]'
    where id = 8;
update "comment" set is_flagged = true, flag_count = null, flag_reasons = '[{"reported_by": 8, "reason": "inappropriate", "details": "", "reported_at": "2020-03-05T10:00:00"}]' where id = 5;
update "comment" set is_flagged = true, flag_count = 7, is_hidden = true, reviewed_at = '2022-01-02 12:00:00', reviewed_by = 1,
    flag_reasons = '[{"reported_by": 2, "reason": "spam", "details": null, "reported_at": "2022-01-02T01:00:00"}]' where id = 12;
update "comment" set is_flagged = false, flag_count = 0, is_hidden = false, reviewed_at = '2020-06-03 12:00:00', reviewed_by = 1, flag_reasons = '[]' where id = 9;

do $$
begin
    if to_regclass('most_liked_content') is not null then
        refresh materialized view most_liked_content;
    end if;
end
$$;
