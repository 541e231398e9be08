drop trigger count_views on pageview;
drop trigger place_view on pageview;
drop function count_views, place_view;
drop table page_total, page_day, page_visitor, referrer_day, bot_view;
drop index pageview_personal_idx;
alter table pageview drop visitor, drop referrer;
