-- Rows of the older service for what version 017 added: likes and comments of projects.
-- For tests; apply after the rows files before it at state 017.

insert into "like" (id, user_id, url, created_at, entity_type, entity_id) values
    (30, 2, null, '2023-04-01 10:00:00', 'project', 4),
    (31, 3, null, '2023-04-01 10:00:01', 'project', 1),
    (32, 8, null, null,                  'project', 1),
    (35, 3, null, '2023-04-01 10:00:03', 'project', 7),
    -- A project that is gone.
    (36, 3, null, '2023-04-01 10:00:04', 'project', 3);
select setval(pg_get_serial_sequence('"like"', 'id'), 40);

insert into "comment" (id, user_id, url, content, created_at, is_flagged, flag_count, is_hidden, is_removed, like_count, parent_comment_id, reply_count, entity_type, entity_id) values
    (70, 3,  null, 'Nice project.',         '2023-04-02 10:00:00', false, 0, false, false, 0, null, 9, 'project', 1),
    (71, 2,  null, 'Thank you.',            '2023-04-02 11:00:00', false, 0, false, false, 0, 70, 0, 'project', 1),
    (72, 34, null, 'A hidden one.',         '2023-04-02 12:00:00', true, 2, true, false, 0, null, null, 'project', 1),
    (75, 5,  null, 'All of it NULL.',       null, null, null, null, null, null, null, null, 'project', 4),
    (76, 5,  null, 'On a project that is gone.', '2023-04-02 13:00:00', false, 0, false, false, 0, null, 0, 'project', 3);
select setval(pg_get_serial_sequence('"comment"', 'id'), 80);

do $$
begin
    if to_regclass('most_liked_content') is not null then
        refresh materialized view most_liked_content;
    end if;
end
$$;
