-- The older service's database, version 006: the likes of each URL, counted.
-- A reconstruction for tests. Apply after the versions before it.

create materialized view if not exists most_liked_content as
    select url, count(*) as like_count, max(created_at) as last_liked_at
    from "like"
    group by url;
create unique index if not exists idx_most_liked_content_url on most_liked_content (url);
