-- Rows of the older service for what versions 008 to 012 added: page views, edited and removed comments.
-- For tests; apply after rows_000.sql and rows_007.sql at state 012 or later.

-- 300 views over 100 days from 20 addresses, every third with a leading slash, then the odd ones.
insert into pageview (id, url, ip_address, viewed_at, user_agent)
    select n, (array['blog/x.html', 'blog/y.html', '/blog/x.html'])[1 + n % 3], '192.0.2.' || 1 + n % 20,
           timestamp '2023-01-01 00:00:00' + n * interval '8 hours', 'Mozilla/5.0 (X11; Linux x86_64)'
    from generate_series(1, 300) n;
insert into pageview (id, url, ip_address, viewed_at, user_agent) values
    (310, '',                       '198.51.100.7', '2023-05-01 00:00:00', 'Mozilla/5.0'),
    (311, '/',                      '198.51.100.7', '2023-05-01 00:00:01', 'Mozilla/5.0'),
    (312, '//blog/x.html',          '2001:db8::7',  '2023-05-02 23:59:59.999999', null),
    (313, 'blog/Übung 1.html?id=5', null,           '2023-05-03 12:00:00', 'curl/7.68.0'),
    (314, 'projects/smars-q/',      'unknown',      '2023-05-04 12:00:00', ''),
    (330, 'blog/100%25.html',       '203.0.113.9',  null, repeat('Mozilla ', 100));
select setval(pg_get_serial_sequence('pageview', 'id'), 333);

update "comment" set is_removed = false;
update "comment" set is_removed = null where id in (2, 5);
update "comment" set is_removed = true, removed_at = '2022-01-04 00:00:00' where id = 13;

update "comment" set edited_at = '2019-03-03 00:00:00' where id = 1;
update "comment" set edited_at = '2020-01-17 09:00:00' where id = 3;
insert into commentversion (id, comment_id, content, edited_at) values
    (1, 1, 'Frist!', '2019-03-03 00:00:00'),
    (2, 3, 'A comment', '2020-01-16 09:00:00'),
    (3, 3, 'A comment with markup.', '2020-01-17 09:00:00'),
    (6, 13, 'Before it was removed.', null);
select setval(pg_get_serial_sequence('commentversion', 'id'), 9);

do $$
begin
    if to_regclass('page_view_counts') is not null then
        refresh materialized view page_view_counts;
    end if;
end
$$;
