-- The rows of the views stay, and the older service counts them anew.
drop trigger count_view on pageview;
drop function count_view, move_views;
drop table page_visitor, page_referrer, viewed_day, viewed_page, dropped_view;
drop index pageview_address_idx;
alter table pageview drop visitor, drop referrer;
