drop trigger note_media on project_file;
drop trigger note_media on project_image;
drop trigger note_media on "user";
drop table image_size;
drop function note_media;
drop table media_file;
drop index project_file_filename_idx, project_image_filename_idx, user_profile_picture_idx;
alter table project_image drop width, drop height, drop colour, drop animated, drop upload_id;
alter table project_file drop upload_id;
