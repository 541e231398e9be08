-- Brings the tables of the older service, whatever state they are in, to the
-- shape that they have in the schema chatter_new, where migration 100 has just
-- made them as in a fresh database. What it does follows from comparing the two
-- catalogues, so that both kinds of database end alike. It runs in the
-- migration's transaction and holds every table until that ends.
do $takeover$
declare
    live text := current_schema();
    t record;
    c record;
    fills text;
    wheres text;
    found bigint;
begin
    -- The older service's views hang on the columns' types; Chatter has no need of them.
    for t in select relname, relkind from pg_class where relnamespace = live::regnamespace
             and relname in ('most_liked_content', 'page_view_counts', 'top_viewed_pages') and relkind in ('v', 'm') order by relkind desc, relname loop
        execute format('drop %s view if exists %I.%I cascade', case t.relkind when 'm' then 'materialized' else '' end, live, t.relname);
    end loop;

    -- Every constraint and index goes, and comes back below in one form; but a
    -- primary key on id stays, since a site's own tables may refer to it.
    for c in select conrelid::regclass as tab, conname from pg_constraint
             where connamespace = live::regnamespace
               and (contype in ('f', 'u', 'c') or contype = 'p' and pg_get_constraintdef(oid) <> 'PRIMARY KEY (id)')
               and conrelid::regclass::text in (select oid::regclass::text from pg_class where relnamespace = live::regnamespace
                   and relname in (select relname from pg_class where relnamespace = 'chatter_new'::regnamespace and relkind = 'r'))
             order by contype = 'f' desc loop
        execute format('alter table %s drop constraint if exists %I cascade', c.tab, c.conname);
    end loop;
    for c in select i.indexrelid::regclass as name from pg_index i join pg_class r on r.oid = i.indrelid
             where r.relnamespace = live::regnamespace and not i.indisprimary
               and r.relname in (select relname from pg_class where relnamespace = 'chatter_new'::regnamespace and relkind = 'r') loop
        execute format('drop index %s', c.name);
    end loop;

    for t in select oid, relname from pg_class where relnamespace = 'chatter_new'::regnamespace and relkind = 'r' order by relname loop
        execute format('create table if not exists %I.%I (id serial)', live, t.relname);
        execute format('lock table %I.%I in access exclusive mode', live, t.relname);
        if pg_get_serial_sequence(format('%I.%I', live, t.relname), 'id') is null then
            execute format('create sequence if not exists %1$I.%2$I', live, t.relname || '_id_seq');
            execute format('alter sequence %1$I.%2$I owned by %1$I.%3$I.id', live, t.relname || '_id_seq', t.relname);
            execute format('alter table %1$I.%3$I alter id set default nextval(%4$L)', live, t.relname || '_id_seq', t.relname,
                           format('%I.%I', live, t.relname || '_id_seq'));
        end if;
        execute format('select setval(pg_get_serial_sequence(%2$L, ''id''), greatest(coalesce(max(id), 0) + 1, nextval(pg_get_serial_sequence(%2$L, ''id''))), false) from %1$s',
                       format('%I.%I', live, t.relname), format('%I.%I', live, t.relname));

        -- Columns: the missing ones, then type, default and nullability of all.
        fills := '';
        wheres := '';
        for c in
            select a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull, pg_get_expr(d.adbin, d.adrelid) as def,
                   l.attname is null as missing, format_type(l.atttypid, l.atttypmod) as live_type
            from pg_attribute a
            left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            left join pg_attribute l on l.attrelid = to_regclass(format('%I.%I', live, t.relname)) and l.attname = a.attname and not l.attisdropped
            where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and a.attname <> 'id'
            order by a.attnum
        loop
            if c.missing then
                execute format('alter table %I.%I add %I %s%s', live, t.relname, c.attname, c.type,
                               case when c.def is null then '' else ' default ' || c.def end);
            elsif c.live_type <> c.type then
                execute format('alter table %I.%I alter %I drop default, alter %I type %s', live, t.relname, c.attname, c.attname, c.type);
            end if;
            execute format('alter table %I.%I alter %I %s', live, t.relname, c.attname,
                           case when c.def is null then 'drop default' else 'set default ' || c.def end);
            if c.attnotnull and (c.def is not null or c.type like '%char%' or c.type = 'text') then
                fills := fills || format(', %1$I = coalesce(%1$I, %2$s)', c.attname, coalesce(c.def, ''''''));
                wheres := wheres || format(' or %I is null', c.attname);
            end if;
        end loop;
        if fills <> '' then
            execute format('update %I.%I set %s where %s', live, t.relname, substr(fills, 3), substr(wheres, 5));
            get diagnostics found = row_count;
            if found > 0 then
                raise notice '%: % rows had no value where one must be', t.relname, found;
            end if;
        end if;
        for c in select a.attname, a.attnotnull from pg_attribute a
                 where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped order by a.attnum loop
            execute format('alter table %I.%I alter %I %s not null', live, t.relname, c.attname, case when c.attnotnull then 'set' else 'drop' end);
        end loop;
        raise notice '%: columns done', t.relname;
    end loop;
end
$takeover$;

-- A page has one address: without leading slashes, and index.html for the root.
update "like" set url = coalesce(nullif(ltrim(url, '/'), ''), 'index.html') where url like '/%' or url = '';
update comment set url = coalesce(nullif(ltrim(url, '/'), ''), 'index.html') where url like '/%' or url = '';
update pageview set url = coalesce(nullif(ltrim(url, '/'), ''), 'index.html') where url like '/%' or url = '';

do $rows$
declare
    rule record;
    found bigint;
begin
    -- Values that no rule of the older service's own would have let in: the
    -- rows are kept as they were in merged_row, and mended.
    for rule in select * from (values
        ('user', 'status not in (''active'', ''inactive'')', 'status = ''inactive''', 'unknown status'),
        ('project', 'status not in (''draft'', ''published'')', 'status = ''draft''', 'unknown status'),
        ('project_link', 'link_type not in (''resource'', ''video'', ''course'', ''article'', ''related_project'')', 'link_type = ''resource''', 'unknown link_type'),
        ('tool_material', 'tool_type not in (''tool'', ''material'')', 'tool_type = ''tool''', 'unknown tool_type'),
        ('like', 'url is not null and (entity_type is not null or entity_id is not null)', 'url = case when entity_type is null or entity_id is null then url end, entity_type = case when entity_id is not null then entity_type end, entity_id = case when entity_type is not null then entity_id end', 'belonged to a page and an entity'),
        ('comment', 'url is not null and (entity_type is not null or entity_id is not null)', 'url = case when entity_type is null or entity_id is null then url end, entity_type = case when entity_id is not null then entity_type end, entity_id = case when entity_type is not null then entity_id end', 'belonged to a page and an entity'),
        ('comment', 'url is null and (entity_type is null or entity_id is null)', 'url = ''index.html'', entity_type = null, entity_id = null', 'belonged to nothing')
    ) r (tab, wrong, mend, reason) loop
        execute format('insert into merged_row (table_name, row_id, row_data, reason) select %L, id, to_jsonb(x), %L from %I x where %s', rule.tab, rule.reason, rule.tab, rule.wrong);
        execute format('update %I set %s where %s', rule.tab, rule.mend, rule.wrong);
        get diagnostics found = row_count;
        if found > 0 then
            raise notice '%: % rows mended: %', rule.tab, found, rule.reason;
        end if;
    end loop;

    -- Components of one name become the oldest of them.
    update project_component pc set component_id = first.id
    from component c, (select name, min(id) as id from component group by name) first
    where pc.component_id = c.id and c.name = first.name and c.id <> first.id;

    -- Of rows that a unique rule lets stand only once, the oldest stays.
    for rule in select * from (values
        ('like', 'url, user_id', 'url is not null'),
        ('like', 'entity_type, entity_id, user_id', 'entity_type is not null'),
        ('commentlike', 'comment_id, user_id', 'true'),
        ('component', 'name', 'true'),
        ('project_tag', 'project_id, tag_name', 'true'),
        ('project_component', 'project_id, component_id', 'true')
    ) r (tab, key, among) loop
        execute format('
            with gone as (
                delete from %1$I x using (select id as place_id, row_number() over (partition by %2$s order by id) as place from %1$I where %3$s) p
                where x.id = place_id and place > 1 returning x.*
            )
            insert into merged_row (table_name, row_id, row_data, reason) select %1$L, id, to_jsonb(gone), ''the same '' || %2$L || '' as an older row'' from gone',
            rule.tab, rule.key, rule.among);
        get diagnostics found = row_count;
        if found > 0 then
            raise notice '%: % rows merged with older ones of the same %', rule.tab, found, rule.key;
        end if;
    end loop;
    with gone as (delete from "like" where url is null and (entity_type is null or entity_id is null) returning *)
    insert into merged_row (table_name, row_id, row_data, reason) select 'like', id, to_jsonb(gone), 'belonged to nothing' from gone;

    -- Steps that share a number are numbered anew, in their order.
    update project_step s set step_number = p.place
    from (select id, row_number() over (partition by project_id order by step_number, id) as place from project_step) p
    where p.id = s.id and s.project_id in (select project_id from project_step group by project_id, step_number having count(*) > 1);
end
$rows$;

do $rules$
declare
    live text := current_schema();
    c record;
begin
    for c in select r.relname, k.conname, pg_get_constraintdef(k.oid) as def, l.conname as kept from pg_constraint k join pg_class r on r.oid = k.conrelid
             left join pg_constraint l on k.contype = 'p' and l.contype = 'p' and l.conrelid = to_regclass(format('%I.%I', live, r.relname))
             where k.connamespace = 'chatter_new'::regnamespace and k.contype in ('p', 'u', 'c', 'f')
             order by array_position('{p,u,c,f}'::text[], k.contype::text), r.relname, k.conname loop
        if c.kept is not null then
            if c.kept <> c.conname then
                execute format('alter table %I.%I rename constraint %I to %I', live, c.relname, c.kept, c.conname);
            end if;
            continue;
        end if;
        execute format('alter table %I.%I add constraint %I %s', live, c.relname, c.conname,
                       replace(c.def, 'REFERENCES chatter_new.', format('REFERENCES %I.', live)));
    end loop;
    raise notice 'constraints done';
    for c in select pg_get_indexdef(i.indexrelid) as def from pg_index i join pg_class r on r.oid = i.indrelid
             where r.relnamespace = 'chatter_new'::regnamespace and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u'))
             order by 1 loop
        execute replace(c.def, ' ON chatter_new.', format(' ON %I.', live));
    end loop;
    raise notice 'indexes done';
end
$rules$;

-- The older service lost counts under load; the rows know better.
update comment c set like_count = n from (
    select c.id, count(l.id) as n from comment c left join commentlike l on l.comment_id = c.id group by c.id) r
where r.id = c.id and c.like_count <> n;
update comment c set reply_count = n from (
    select c.id, count(r.id) filter (where not r.is_hidden and not r.is_removed) as n
    from comment c left join comment r on r.parent_comment_id = c.id group by c.id) r
where r.id = c.id and c.reply_count <> n;
update project p set like_count = n from (
    select p.id, count(l.id) as n from project p left join "like" l on l.entity_type = 'project' and l.entity_id = p.id group by p.id) r
where r.id = p.id and p.like_count <> n;
update project p set comment_count = n from (
    select p.id, count(c.id) filter (where not c.is_hidden and not c.is_removed) as n
    from project p left join comment c on c.entity_type = 'project' and c.entity_id = p.id group by p.id) r
where r.id = p.id and p.comment_count <> n;

set local client_min_messages to warning; -- the pattern is gone, and nobody needs to be told
drop schema chatter_new cascade;
