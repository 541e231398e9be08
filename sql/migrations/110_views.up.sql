-- Page views are counted when they are written, so that statistics cost the
-- same for a page with ten views and with ten million.

-- visitor is who viewed, without a name: a keyed hash of address and user
-- agent. It is emptied together with them; page_visitor keeps what counting
-- needs. referrer is a host.
alter table pageview add visitor bytea, add referrer varchar;
-- The rows that retention has yet to empty.
create index pageview_personal_idx on pageview (viewed_at)
    where ip_address is not null or user_agent is not null or visitor is not null;

-- A page that was ever viewed. The tables below name it by its id, so that a
-- page that moves takes its counters along. They have no foreign keys: each
-- new row would lock the page's, which is the busiest of all.
create table page_total (
    id              serial primary key,
    url             varchar not null unique,
    view_count      bigint not null default 0,
    unique_visitors bigint not null default 0, -- the page's rows in page_visitor
    last_viewed_at  timestamp
);
create table page_day (
    page_id    integer not null,
    day        date not null, -- in UTC
    view_count bigint not null,
    primary key (page_id, day)
);
create table page_visitor (
    page_id integer not null,
    visitor bytea not null,
    primary key (page_id, visitor)
);
-- Hosts whose pages led here.
create table referrer_day (
    page_id    integer not null,
    day        date not null,
    host       varchar not null,
    view_count bigint not null,
    primary key (page_id, day, host)
);
-- Views that were not counted, by what gave the bot away.
create table bot_view (
    day        date not null,
    reason     varchar not null,
    name       varchar not null,
    view_count bigint not null,
    primary key (day, reason, name)
);

-- What is there already. A visitor of the older service was an address, and
-- stays one here: as a hash with a salt that nobody keeps, so that it can't be
-- compared with anything but the other rows of that time. Who comes back counts
-- once more on each page, under the new kind of hash.
set local work_mem = '128MB';
insert into page_total (url, view_count, last_viewed_at)
    select url, count(*), max(viewed_at) from pageview group by url;
insert into page_day (page_id, day, view_count)
    select id, day, views from page_total join (
        select url, viewed_at::date as day, count(*) as views from pageview group by 1, 2
    ) counted using (url);
with salt as materialized (select gen_random_uuid() || ' ' || gen_random_uuid() || ' ' as text)
insert into page_visitor (page_id, visitor)
    select id, substr(sha256(convert_to(salt.text || ip_address, 'UTF8')), 1, 16)
    from page_total join (select distinct url, ip_address from pageview where ip_address is not null) seen using (url), salt;
update page_total set unique_visitors = visitors
    from (select page_id, count(*) as visitors from page_visitor group by 1) counted where page_id = id;
create index page_total_ranking_idx on page_total (view_count, last_viewed_at, id);
create index page_day_day_idx on page_day (day);
create index referrer_day_day_idx on referrer_day (day);
analyze page_total, page_day, page_visitor;

-- A view belongs to where its page has moved. Views are written under a shared
-- lock that moving a page takes alone, so that none of them misses the move;
-- the alias is looked up when the lock is held.
create function place_view() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(hashtextextended('pageview', 0));
    new.url := coalesce((select new_url from page_alias where old_url = new.url), new.url);
    return new;
end $$;
create trigger place_view before insert on pageview for each row execute function place_view();

-- Counts the views of one statement, however many. Everybody takes the rows in
-- the same order, table by table and by key, so that nobody waits in a circle;
-- the busiest come last and are held for the shortest time.
create function count_views() returns trigger language plpgsql as $$
declare
    newcomers jsonb;
begin
    insert into page_total (url)
        select distinct url from added a where not exists (select from page_total p where p.url = a.url) order by url
        on conflict do nothing;
    if exists (select from added where visitor is not null) then
        with fresh as (
            insert into page_visitor (page_id, visitor)
                select distinct p.id, a.visitor from added a join page_total p using (url) where a.visitor is not null order by 1, 2
                on conflict do nothing
                returning page_id)
        select jsonb_object_agg(page_id, visitors) into newcomers from (select page_id, count(*) as visitors from fresh group by 1) counted;
    end if;
    insert into referrer_day as r (page_id, day, host, view_count)
        select p.id, a.viewed_at::date, a.referrer, count(*) from added a join page_total p using (url)
        where a.referrer is not null group by 1, 2, 3 order by 1, 2, 3
        on conflict (page_id, day, host) do update set view_count = r.view_count + excluded.view_count;
    insert into page_day as d (page_id, day, view_count)
        select p.id, a.viewed_at::date, count(*) from added a join page_total p using (url) group by 1, 2 order by 1, 2
        on conflict (page_id, day) do update set view_count = d.view_count + excluded.view_count;
    perform from page_total where url in (select url from added) order by id for no key update;
    update page_total t set view_count = t.view_count + a.views, last_viewed_at = greatest(t.last_viewed_at, a.latest),
        unique_visitors = t.unique_visitors + coalesce((newcomers ->> t.id::text)::bigint, 0)
    from (select url, count(*) as views, max(viewed_at) as latest from added group by url) a where a.url = t.url;
    return null;
end $$;
create trigger count_views after insert on pageview referencing new table as added for each statement execute function count_views();
