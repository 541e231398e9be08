drop index project_updated_at_idx;
drop trigger tally_after_insert on project_tag;
drop trigger tally_after_delete on project_tag;
drop trigger tally_new_project on project;
drop trigger tally_project on project;
drop trigger tally_old_project on project;
drop function tally_project_tags(), tally_project(), tally_tags(text[], integer);
drop table tag_tally;
