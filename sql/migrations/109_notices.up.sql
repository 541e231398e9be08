-- Which letters people want, and which comments nobody was told of yet because
-- they wait for a moderator.
alter table "user"
    add notify_replies  boolean not null default true,
    add notify_mentions boolean not null default true,
    add notify_projects boolean not null default true,
    add notify_reports  boolean not null default true; -- admins
alter table comment add unannounced boolean not null default false;
