-- The older service's schema_version as it often is: no rows for 002 and 008 to 015, odd spellings, rows for what
-- may never have run. For tests; apply last, at any state.

create table if not exists schema_version (
    id          serial primary key,
    version     varchar not null unique,
    description varchar not null,
    applied_at  timestamp default now(),
    checksum    varchar
);

insert into schema_version (id, version, description, applied_at, checksum) values
    (1,  'schema_version', 'schema_version', '2019-03-01 00:00:00', null),
    (2,  '000', 'initial schema', '2019-03-01 00:00:01', 'd41d8cd98f00b204e9800998ecf8427e'),
    (3,  '001', 'account columns', '2019-03-01 00:00:02', null),
    (5,  '003', 'force password reset', '2019-03-01 00:00:04', null),
    (6,  '004', 'password reset codes', '2019-03-01 00:00:05', ''),
    (7,  '005', '', '2019-03-01 00:00:06', null),
    (8,  '006', 'most liked content', null, null),
    (9,  '007', 'comment moderation', '2019-03-01 00:00:08', null),
    (20, '13', 'by hand', '2023-01-01 00:00:00', null),
    (21, '16', 'by hand', '2023-02-01 00:00:00', null);
select setval(pg_get_serial_sequence('schema_version', 'id'), 21);
