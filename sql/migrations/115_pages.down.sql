drop table error_day;
delete from outbox where given_up_at is not null;
alter table outbox drop given_up_at;
delete from mail_token where used_at is not null;
alter table mail_token drop used_at;
drop table kept_form;
alter table project drop featured_at, drop moderator_note;
