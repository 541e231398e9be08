-- The older service's database, version 008: page views.
-- A reconstruction for tests. Apply after the versions before it.

create table if not exists pageview (
    id         serial primary key,
    url        varchar not null,
    ip_address varchar,
    viewed_at  timestamp default now(),
    user_agent text
);
create index if not exists idx_pageview_url on pageview (url);
create index if not exists idx_pageview_ip_address on pageview (ip_address);
create index if not exists idx_pageview_viewed_at on pageview (viewed_at);
