-- Takes away what Chatter added; the older service's columns keep their data.
drop trigger count_like on "like";
drop trigger count_comment_like on commentlike;
drop trigger count_comment on comment;
drop trigger touch_project on project_step;
drop trigger touch_project on bill_of_material;
drop trigger touch_project on project_component;
drop trigger touch_project on project_file;
drop trigger touch_project on project_image;
drop trigger touch_project on project_link;
drop trigger touch_project on tool_material;
drop function count_like, count_comment_like, count_comment, touch_project;
alter table bill_of_material drop link;
alter table project drop difficulty_level, drop estimated_time;
drop table session, page_alias;
drop index user_older_hash_idx, user_username_lower_key, user_email_lower_key, user_username_lower_idx, user_email_lower_idx;
alter table "user" drop username_double, drop email_double;
