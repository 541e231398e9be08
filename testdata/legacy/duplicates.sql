-- Rows that could be written to the older service's database where a unique rule or a check was missing.
-- For tests; apply after models.sql (or any other state) and the rows files. Each group of rows goes in where
-- the database takes it, and is passed over with a notice where it has the rule, the table or the column not.
-- All ids are 900 or more. No group is a mere copy: times, texts and quantities differ.

do $duplicates$
declare
    g record;
begin
    for g in select * from (values
        -- The same (user_id, url) as like 4, twice; a slash makes these equal, which no unique rule sees.
        ('like',              $q$insert into "like" (id, user_id, url) values (900, 8, 'blog/x.html'), (901, 8, 'blog/x.html')$q$),
        ('like slash',        $q$insert into "like" (id, user_id, url) values (902, 8, '/x'), (903, 8, 'x'), (904, 8, '//x')$q$),
        ('like empty',        $q$insert into "like" (id, user_id, url) values (905, 5, '')$q$),
        -- The same (user_id, entity) as likes 30 and 31.
        ('like entity',       $q$insert into "like" (id, user_id, entity_type, entity_id, created_at) values
                                 (910, 2, 'project', 4, '2023-05-01'), (911, 3, 'project', 1, null)$q$),
        -- Both a URL and an entity; half an entity; nothing at all.
        ('like both',         $q$insert into "like" (id, user_id, url, entity_type, entity_id) values (920, 9, 'projects/1', 'project', 1)$q$),
        ('like both twice',   $q$insert into "like" (id, user_id, url, entity_type, entity_id) values
                                 (921, 2, 'blog/x.html', 'project', 4)$q$),
        ('like half',         $q$insert into "like" (id, user_id, url, entity_type) values (922, 9, 'blog/half.html', 'project')$q$),
        ('like nothing',      $q$insert into "like" (id, user_id) values (923, 9)$q$),
        ('comment both',      $q$insert into "comment" (id, user_id, url, content, created_at, entity_type, entity_id) values
                                 (920, 9, 'projects/1', 'On both a page and a project.', '2023-05-01', 'project', 1)$q$),
        ('comment half',      $q$insert into "comment" (id, user_id, url, content, created_at, entity_id) values
                                 (922, 9, 'blog/half.html', 'Half a project.', '2023-05-01', 1)$q$),
        ('comment nothing',   $q$insert into "comment" (id, user_id, content, created_at) values (923, 9, 'On nothing.', '2023-05-01')$q$),
        ('commentlike',       $q$insert into commentlike (id, comment_id, user_id, created_at) values
                                 (900, 3, 2, '2023-02-01 00:00:09'), (901, 3, 2, null), (902, 1, 8, '2023-01-01')$q$),
        ('project_tag',       $q$insert into project_tag (id, project_id, tag_name) values (900, 1, 'robotics'), (901, 1, 'robotics'), (902, 4, 'robotics')$q$),
        -- Two steps more numbered 2, one more numbered 5: nobody's text may get lost.
        ('project_step',      $q$insert into project_step (id, project_id, step_number, title, content, created_at) values
                                 (900, 1, 2, 'Wire again', 'Black to ground.', '2023-03-01 10:02:01'),
                                 (901, 1, 2, 'Wire once more', 'Yellow to pin 3.', '2023-03-01 10:02:02'),
                                 (902, 1, 5, 'Run', 'Faster.', null)$q$),
        ('project_component', $q$insert into project_component (id, project_id, component_id, quantity, notes) values
                                 (900, 1, 1, 2, 'A spare brain'), (901, 4, 1, 3, null)$q$)
    ) as groups (name, sql) loop
        begin
            execute g.sql;
        exception when unique_violation or check_violation or not_null_violation or foreign_key_violation
                  or undefined_table or undefined_column then
            raise notice 'passed over: % (%)', g.name, sqlerrm;
        end;
    end loop;
    for g in select * from (values ('"like"'), ('"comment"'), ('commentlike'), ('project_tag'), ('project_step'), ('project_component')) as tables (name)
             where to_regclass(name) is not null loop
        execute format('select setval(pg_get_serial_sequence(%L, ''id''), 999)', g.name);
    end loop;
end
$duplicates$;
