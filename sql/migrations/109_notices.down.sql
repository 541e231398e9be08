alter table comment drop unannounced;
alter table "user" drop notify_replies, drop notify_mentions, drop notify_projects, drop notify_reports;
