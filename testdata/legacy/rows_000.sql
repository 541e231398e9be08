-- Rows of the older service for its tables of version 000: accounts, their log, likes and comments.
-- For tests; at state N apply every rows_*.sql up to N, in order, after the tables or between the versions.
--
-- Passwords (bcrypt, cost 12):
--   admin, alice, bob                        correct horse battery staple
--   ALICE, robert, carol, dave, eve          old-Password-7
--   ünal                                     käse & brot 2019
--   longpass                                 xxxlong-passphrase-long-passphrase-long-passphrase-long-passphrase-long-passphrase-tail-that-was-ignored
--     (104 bytes, of which the hash knows the first 72: xxxlong-passphrase-long-passphrase-long-passphrase-long-passphrase-long-)
-- Pairs that differ only in case: names alice (2) and ALICE (8), addresses of bob (3) and robert (5).
-- No valid addresses: carol's (9) and eve's (34). eve's status and type are NULL, dave (13) is inactive.

insert into "user" (id, username, email, hashed_password, firstname, lastname, date_of_birth, status, type, created_at, updated_at) values
    (1,  'admin',    'admin@example.org',       '$2b$12$QCQkx1Uws7oHZ6dpdkSdNOg3iSpXU65rkW8kCwPZHBqHEdPpcnn/K', 'Site', 'Admin', null, 'active', 1, '2019-03-01 08:00:00', '2019-03-01 08:00:00'),
    (2,  'alice',    'alice@example.org',       '$2b$12$QCQkx1Uws7oHZ6dpdkSdNOg3iSpXU65rkW8kCwPZHBqHEdPpcnn/K', 'Alice', 'Arnold', '1990-05-17', 'active', 0, '2019-03-02 10:11:12.345678', '2021-01-05 09:00:00'),
    (3,  'bob',      'bob@example.org',         '$2b$12$QCQkx1Uws7oHZ6dpdkSdNOg3iSpXU65rkW8kCwPZHBqHEdPpcnn/K', 'Bob', 'O''Brien', '1900-01-01', 'active', 0, '2019-04-10 12:00:00', '2019-04-10 12:00:00'),
    (5,  'robert',   'Bob@Example.org',         '$2b$12$ctabxO2IfnVhHDMlyXq9kuuDdhnNUm155BLL6ypBM8W9vnD3MoSZ.', 'Robert', '', null, 'active', 0, '2019-08-20 18:30:00', '2019-08-20 18:30:00'),
    (8,  'ALICE',    'alice.other@example.org', '$2b$12$ctabxO2IfnVhHDMlyXq9kuuDdhnNUm155BLL6ypBM8W9vnD3MoSZ.', 'Alice', 'Zimmer', '2000-02-29', 'active', 0, '2020-01-15 07:45:00', '2020-01-15 07:45:00'),
    (9,  'carol',    'carol-at-nowhere',        '$2b$12$ctabxO2IfnVhHDMlyXq9kuuDdhnNUm155BLL6ypBM8W9vnD3MoSZ.', 'Carol', 'C.', null, 'active', 0, '2020-02-01 00:00:00', '2020-02-01 00:00:00'),
    (12, 'longpass', 'longpass@example.org',    '$2b$12$/1sPto0N25OI/tMCduNbEe/wnXQ4WnTHAObS8LsdcLWi20MRvgg.i', 'Lena', 'Lang', null, 'active', 0, '2020-05-05 05:05:05', '2020-05-05 05:05:05'),
    (13, 'dave',     'dave@example.org',        '$2b$12$ctabxO2IfnVhHDMlyXq9kuuDdhnNUm155BLL6ypBM8W9vnD3MoSZ.', 'Dave', 'Gone', '1985-12-31', 'inactive', 0, '2020-06-01 12:00:00', '2020-09-09 09:09:09'),
    (21, 'ünal',     'uenal@example.org',       '$2b$12$aI.IFKxoYA/jyFovLcXCxe/2PO3AS.yH4.PabR83SXB8luvtojbtS', 'Ünal', 'Şahin', '1978-07-07', 'active', 0, '2021-11-11 11:11:11', '2021-11-11 11:11:11'),
    (34, 'eve',      'eve @ example..org',      '$2b$12$ctabxO2IfnVhHDMlyXq9kuuDdhnNUm155BLL6ypBM8W9vnD3MoSZ.', '', '', null, null, null, '2022-01-01 00:00:01', '2022-01-01 00:00:01');
select setval(pg_get_serial_sequence('"user"', 'id'), 40);

insert into accountlog (id, user_id, action, field_changed, old_value, new_value, changed_by, changed_at, ip_address, user_agent) values
    (1, 2,  'update', 'lastname', 'Anders', 'Arnold', 2, '2021-01-05 09:00:00', '192.0.2.10', 'Mozilla/5.0 (X11; Linux x86_64)'),
    (2, 13, 'update', 'status', 'active', 'inactive', 1, '2020-09-09 09:09:09', '2001:db8::1', null),
    (3, 5,  'update', 'email', null, 'Bob@Example.org', null, '2019-08-21 00:00:00', null, null),
    (7, 12, 'password_change', null, null, null, 12, null, '192.0.2.12', '');
select setval(pg_get_serial_sequence('accountlog', 'id'), 7);

-- "/blog/x.html", "//blog/x.html" and "blog/x.html" are one page, liked by alice three times over;
-- "" and "/" are the front page.
insert into "like" (id, user_id, url) values
    (1,  2,  '/blog/x.html'),
    (2,  3,  '//blog/x.html'),
    (3,  2,  'blog/x.html'),
    (4,  8,  'blog/x.html'),
    (6,  2,  '//blog/x.html'),
    (7,  5,  ''),
    (9,  3,  ''),
    (10, 3,  '/'),
    (11, 9,  'blog/Übung 1.html?id=5'),
    (15, 21, 'projects/smars-q/'),
    (16, 34, 'blog/100%25.html'),
    (17, 13, 'blog/y.html');
select setval(pg_get_serial_sequence('"like"', 'id'), 20);

insert into "comment" (id, user_id, url, content, created_at) values
    (1,  2,  '/blog/x.html',           'First!', '2019-03-02 11:00:00'),
    (2,  3,  '//blog/x.html',          'Two slashes got here first.', '2019-04-11 12:00:00'),
    (3,  8,  'blog/x.html',            'A comment with <b>markup</b> & "quotes".', '2020-01-16 08:00:00'),
    (5,  5,  '',                       'On the front page.', '2020-03-03 03:03:03'),
    (6,  9,  '/',                      'The front page with a slash.', '2020-03-04 03:03:03'),
    (8,  12, 'blog/y.html',            E'Several\nlines\n\nand an emoji 🤖', '2020-05-06 05:05:05.123456'),
    (9,  13, 'blog/y.html',            'From an account that is inactive now.', '2020-06-02 12:00:00'),
    (12, 34, 'blog/y.html',            'Cheap pills, this one gets hidden.', '2022-01-02 00:00:00'),
    (13, 3,  'blog/y.html',            'This one gets removed by its author.', '2022-01-03 00:00:00'),
    (14, 21, 'projects/smars-q/',      'Trailing slash.', '2021-11-12 11:11:11'),
    (20, 2,  'blog/Übung 1.html?id=5', '', null);
select setval(pg_get_serial_sequence('"comment"', 'id'), 25);

do $$
begin
    if to_regclass('most_liked_content') is not null then
        refresh materialized view most_liked_content;
    end if;
end
$$;
