-- Makes the tables ready to be filled with rows that belong together already:
-- nothing refers to anything and no trigger counts anything meanwhile.
create temporary table set_aside as
    select conrelid::regclass as tab, conname, pg_get_constraintdef(oid) as definition
    from pg_constraint where contype = 'f' and connamespace = current_schema()::regnamespace;
do $$
declare
    x record;
begin
    for x in select * from set_aside loop
        execute format('alter table %s drop constraint %I', x.tab, x.conname);
    end loop;
    for x in select oid::regclass as tab from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace loop
        execute format('alter table %s disable trigger user', x.tab);
        execute format('truncate %s', x.tab);
    end loop;
end $$;
