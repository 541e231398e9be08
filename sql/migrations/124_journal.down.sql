drop index media_file_waits_idx;
alter table media_file drop column waits_in;
