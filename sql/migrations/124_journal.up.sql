-- While the NAS is away a file waits in the UPLOAD_DIR of the instance that took
-- it. Others have to know, for whom it is neither on the NAS nor in a directory
-- of theirs: it is not missing, and it is not theirs to remove.
alter table media_file add waits_in varchar; -- the journal's name
create index media_file_waits_idx on media_file (waits_in) where waits_in is not null;
