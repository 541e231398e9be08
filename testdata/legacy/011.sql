-- The older service's database, version 011: the page views of each URL, counted.
-- A reconstruction for tests. Apply after the versions before it.

create materialized view if not exists page_view_counts as
    select url, count(*) as view_count, count(distinct ip_address) as unique_visitors, max(viewed_at) as last_viewed_at
    from pageview
    group by url;
create unique index if not exists idx_page_view_counts_url on page_view_counts (url);
