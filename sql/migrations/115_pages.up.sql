-- What the admins' pages need, and what must not be lost on the way to signing in.

-- Projects that admins show on the front page, and what they tell the author of
-- one that they took off the site, until it is published again.
alter table project add featured_at timestamp, add moderator_note text;
create index project_featured_idx on project (featured_at desc) where featured_at is not null;

-- A form that came after its sender's session had ended, sealed. The browser is
-- the hash of a random text in a cookie.
create table kept_form (
    id      serial primary key,
    browser bytea not null,
    form    bytea not null,
    kept_at timestamp not null
);
create index kept_form_browser_idx on kept_form (browser);
create index kept_form_kept_at_idx on kept_form (kept_at);

-- A link that was followed is known until it expires, so that its page can say so.
alter table mail_token add used_at timestamp;

-- A letter that was given up waits to be sent again by hand.
alter table outbox add given_up_at timestamp;

-- How many answers of a day (UTC) said that something went wrong on our side.
create table error_day (
    day         date primary key,
    error_count integer not null
);
