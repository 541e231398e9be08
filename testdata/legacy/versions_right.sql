-- The older service's schema_version with a row for each version that is there, and no other.
-- For tests; apply last. It goes by a column of each version, so that it fits every state; 002 leaves no trace
-- of its own and is told by 003.

create table if not exists schema_version (
    id          serial primary key,
    version     varchar not null unique,
    description varchar not null,
    applied_at  timestamp default now(),
    checksum    varchar
);

insert into schema_version (version, description, applied_at, checksum)
    select version, description, timestamp '2023-06-01 00:00:00' + version::integer * interval '1 minute', md5(description)
    from (values
        ('000', 'initial schema',             'user', 'id'),
        ('001', 'account columns',            'idx_accountlog_changed_at', 'changed_at'),
        ('002', 'last login',                 'user', 'force_password_reset'),
        ('003', 'force password reset',       'user', 'force_password_reset'),
        ('004', 'password reset codes',       'user', 'code_expires_at'),
        ('005', 'like created at and unique', 'like', 'created_at'),
        ('006', 'most liked content',         'most_liked_content', 'url'),
        ('007', 'comment moderation',         'comment', 'reviewed_by'),
        ('008', 'page views',                 'pageview', 'id'),
        ('009', 'comment versions',           'commentversion', 'id'),
        ('010', 'comment removal',            'comment', 'removed_at'),
        ('011', 'page view counts',           'page_view_counts', 'url'),
        ('012', 'top viewed pages',           'top_viewed_pages', 'url'),
        ('013', 'user profiles',              'user', 'bio'),
        ('014', 'comment likes',              'commentlike', 'id'),
        ('015', 'comment replies',            'comment', 'reply_count'),
        ('016', 'projects',                   'project', 'id'),
        ('017', 'entity likes and comments',  'like', 'entity_type')
    ) as versions (version, description, relation, attribute)
    where exists (select from pg_attribute where attrelid = to_regclass(quote_ident(relation)) and attname = attribute and not attisdropped)
    order by version;
