-- Views are counted as they come, so that nobody has to read their rows.
-- Every table is about one page and one day at most: what it costs to read does
-- not grow with the number of views.
create table viewed_page (
    id             serial primary key,
    url            varchar not null unique,
    view_count     integer not null default 0,
    visitor_count  integer not null default 0,
    last_viewed_at timestamp
);
create index viewed_page_rank_idx on viewed_page (view_count desc, last_viewed_at desc, url);

create table viewed_day (
    page_id    integer not null references viewed_page on delete cascade,
    day        date not null, -- UTC
    view_count integer not null,
    primary key (page_id, day)
);
create index viewed_day_day_idx on viewed_day (day);

-- Who has seen a page, as # and a keyed hash of the address. Only visitors of
-- the time before this table stand here with their address until they, too,
-- are hashed.
create table page_visitor (
    page_id integer not null references viewed_page on delete cascade,
    visitor varchar not null,
    primary key (page_id, visitor)
);
create index page_visitor_plain_idx on page_visitor (page_id) where visitor not like '#%';

-- The hosts whose links led to a page.
create table page_referrer (
    page_id    integer not null references viewed_page on delete cascade,
    day        date not null,
    host       varchar not null,
    view_count integer not null,
    primary key (page_id, day, host)
);
create index page_referrer_day_idx on page_referrer (day);

-- What was not counted, and why.
create table dropped_view (
    day        date not null,
    reason     varchar not null,
    view_count integer not null,
    primary key (day, reason)
);

alter table pageview add visitor varchar, add referrer varchar;
create index pageview_address_idx on pageview (viewed_at) where ip_address not like '#%';

insert into viewed_page (url, view_count, visitor_count, last_viewed_at)
select url, count(*), count(distinct ip_address), max(viewed_at) from pageview group by url;
insert into viewed_day (page_id, day, view_count)
select p.id, v.viewed_at::date, count(*) from pageview v join viewed_page p using (url) group by 1, 2;
insert into page_visitor (page_id, visitor)
select distinct p.id, v.ip_address from pageview v join viewed_page p using (url) where v.ip_address is not null;

-- The page's row comes first: views of one page come one after the other.
create function count_view() returns trigger language plpgsql as $$
declare
    page integer;
begin
    insert into viewed_page as p (url, view_count, last_viewed_at) values (new.url, 1, new.viewed_at)
    on conflict (url) do update set view_count = p.view_count + 1, last_viewed_at = greatest(p.last_viewed_at, new.viewed_at)
    returning id into page;
    insert into viewed_day as d values (page, new.viewed_at::date, 1)
    on conflict (page_id, day) do update set view_count = d.view_count + 1;
    if coalesce(new.visitor, new.ip_address) is not null then
        insert into page_visitor values (page, coalesce(new.visitor, new.ip_address)) on conflict do nothing;
        if found then
            update viewed_page set visitor_count = visitor_count + 1 where id = page;
        end if;
    end if;
    if new.referrer is not null then
        insert into page_referrer as r values (page, new.viewed_at::date, new.referrer, 1)
        on conflict (page_id, day, host) do update set view_count = r.view_count + 1;
    end if;
    return null;
end $$;
create trigger count_view after insert on pageview for each row execute function count_view();

-- Gives the counts of one page to another, where they join what is there, and
-- returns how many views moved.
create function move_views(old_page varchar, new_page varchar) returns integer language plpgsql as $$
declare
    source viewed_page;
    target integer;
begin
    perform from viewed_page where url in (old_page, new_page) order by url for update;
    select * into source from viewed_page where url = old_page;
    if not found then
        return 0;
    end if;
    select id into target from viewed_page where url = new_page;
    if not found then
        update viewed_page set url = new_page where id = source.id;
        return source.view_count;
    end if;
    insert into viewed_day as d select target, day, view_count from viewed_day where page_id = source.id
    on conflict (page_id, day) do update set view_count = d.view_count + excluded.view_count;
    insert into page_referrer as r select target, day, host, view_count from page_referrer where page_id = source.id
    on conflict (page_id, day, host) do update set view_count = r.view_count + excluded.view_count;
    insert into page_visitor select target, visitor from page_visitor where page_id = source.id on conflict do nothing;
    update viewed_page set view_count = view_count + source.view_count, last_viewed_at = greatest(last_viewed_at, source.last_viewed_at),
        visitor_count = (select count(*) from page_visitor where page_id = target)
    where id = target;
    delete from viewed_page where id = source.id;
    return source.view_count;
end $$;
