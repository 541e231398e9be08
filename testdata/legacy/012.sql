-- The older service's database, version 012: the most viewed pages.
-- A reconstruction for tests. Apply after the versions before it.

create or replace view top_viewed_pages as
    select url, view_count, unique_visitors, last_viewed_at
    from page_view_counts
    order by view_count desc
    limit 100;
