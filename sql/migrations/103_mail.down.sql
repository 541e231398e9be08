drop table outbox;
drop function notify_outbox();
