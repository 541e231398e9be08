-- Gives the older service back what it finds at its newest state. The tables
-- stay as they are: they have every column that it knows, under stricter rules.
create materialized view most_liked_content as
    select url, count(*) as like_count, max(created_at) as last_liked_at from "like" where url is not null group by url;
create unique index idx_most_liked_content_url on most_liked_content (url);
create materialized view page_view_counts as
    select url, count(*) as view_count, count(distinct ip_address) as unique_visitors, max(viewed_at) as last_viewed_at from pageview group by url;
create unique index idx_page_view_counts_url on page_view_counts (url);
create view top_viewed_pages as select * from page_view_counts order by view_count desc limit 100;
insert into schema_version (version, description)
    select to_char(n, 'FM000'), 'state of the older service' from generate_series(0, 17) n
    on conflict do nothing;
