-- Rows of the older service for what versions 013 to 015 added: profiles, likes of comments, replies.
-- For tests; apply after the rows files before it at state 015 or later.

update "user" set profile_picture = 'user_2_0a1b2c3d.png', location = 'Zürich', bio = E'Builds robots.\nSlowly.' where id = 2;
update "user" set profile_picture = '/profile_pictures/user_8_deadbeef.png', location = '', bio = '' where id = 8;

-- Under 3: four levels. Under 12 (hidden) and 13 (removed): replies that are neither. 44 is hidden, 45 removed.
-- 46 spells its page with a slash, its parent 3 without.
insert into "comment" (id, user_id, url, content, created_at, is_flagged, flag_count, is_hidden, is_removed, like_count, parent_comment_id, reply_count) values
    (40, 2,  'blog/x.html',  'A reply.',                      '2023-02-01 10:00:00', false, 0, false, false, 0, 3, 1),
    (41, 8,  'blog/x.html',  'A reply to the reply.',         '2023-02-01 11:00:00', false, 0, false, false, 0, 40, 1),
    (42, 3,  'blog/x.html',  'A third level.',                '2023-02-01 12:00:00', null, null, null, null, null, 41, null),
    (43, 2,  'blog/x.html',  'A fourth level.',               '2023-02-01 13:00:00', false, 0, false, false, 0, 42, 0),
    (44, 34, 'blog/x.html',  'A hidden reply.',               '2023-02-02 10:00:00', true, 3, true, false, 0, 3, 0),
    (45, 5,  'blog/x.html',  'A removed reply.',              '2023-02-02 11:00:00', false, 0, false, true, 0, 3, 0),
    (46, 9,  '/blog/x.html', 'A reply with a slash.',         '2023-02-02 12:00:00', false, 0, false, false, 0, 3, 0),
    (50, 2,  'blog/y.html',  'A reply to the hidden one.',    '2023-02-03 10:00:00', false, 0, false, false, 0, 12, 0),
    (51, 8,  'blog/y.html',  'A reply to the removed one.',   '2023-02-03 11:00:00', false, 0, false, false, 0, 13, 1),
    (52, 13, 'blog/y.html',  'And a reply to that.',          '2023-02-03 12:00:00', false, 0, false, false, 0, 51, 0);
update "comment" set removed_at = '2023-02-02 11:30:00' where id = 45;
select setval(pg_get_serial_sequence('"comment"', 'id'), 60);

insert into commentlike (id, comment_id, user_id, created_at) values
    (1, 3, 2, '2023-02-01 00:00:00'),
    (2, 3, 3, '2023-02-01 00:00:01'),
    (3, 3, 5, null),
    (5, 1, 8, '2023-02-01 00:00:02'),
    (6, 12, 34, '2023-02-01 00:00:03'),
    (9, 42, 2, '2023-02-01 00:00:04');
select setval(pg_get_serial_sequence('commentlike', 'id'), 12);

-- The counters drifted: 3 has 3 likes and 4 replies (one hidden, one removed), 1 has one like and no replies.
update "comment" set like_count = 2, reply_count = 2 where id = 3;
update "comment" set like_count = -1, reply_count = 5 where id = 1;
update "comment" set like_count = null, reply_count = null where id in (2, 12, 13);
