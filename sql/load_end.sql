-- Brings back what load_begin.sql set aside; each foreign key checks every row.
do $$
declare
    x record;
begin
    for x in select * from set_aside loop
        execute format('alter table %s add constraint %I %s', x.tab, x.conname, x.definition);
    end loop;
    for x in select oid::regclass as tab from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace loop
        execute format('alter table %s enable trigger user', x.tab);
    end loop;
end $$;
drop table set_aside;
analyze;
