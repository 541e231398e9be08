-- Rows of the older service for what version 016 added: projects with every kind of part.
-- For tests; apply after the rows files before it at state 016 or later.

insert into project (id, title, description, author_id, status, background, code_link, created_at, updated_at, view_count, download_count, like_count, comment_count) values
    (1, 'SMARS Q',                'A small walking robot.',  2,  'published', E'Why I built it:\n* fun', 'https://example.org/smars', '2023-03-01 10:00:00', '2023-03-05 10:00:00', 120, 7, 0, 0),
    (2, 'A "draft" / with <odd>', '',                        2,  'draft',     null, null, '2023-03-02 10:00:00', '2023-03-02 10:00:00', 0, 0, 0, 0),
    (4, 'Robot arm Größe XL',     'Counters hold NULL.',     8,  'published', null, '', '2023-03-03 10:00:00', '2023-03-03 10:00:00', null, null, null, null),
    (7, 'Of an inactive author',  null,                      13, 'published', null, null, '2023-03-04 10:00:00', '2023-03-04 10:00:00', 3, null, 99, 42),
    (9, repeat('T', 255),         'The longest title.',      21, 'draft',     '', null, null, null, 1, 0, 0, 0);
select setval(pg_get_serial_sequence('project', 'id'), 11);

insert into project_tag (id, project_id, tag_name) values
    (1, 1, 'robotics'), (2, 1, '3d-printing'), (3, 1, 'Robotics'), (5, 4, 'robotics'), (6, 7, 'ärger'), (8, 2, 'c++ & co');
select setval(pg_get_serial_sequence('project_tag', 'id'), 8);

-- Steps with a gap in their numbers and one numbered 0.
insert into project_step (id, project_id, step_number, title, content, created_at) values
    (1, 1, 1, 'Print', 'Print the *chassis*.', '2023-03-01 10:01:00'),
    (2, 1, 2, 'Wire', E'Red to 5V.\n\n```\npin 3\n```', '2023-03-01 10:02:00'),
    (3, 1, 5, 'Walk', '', '2023-03-01 10:03:00'),
    (7, 4, 0, 'Start', 'Number nought.', null),
    (8, 4, 1, 'End', 'Done.', '2023-03-03 10:03:00');
select setval(pg_get_serial_sequence('project_step', 'id'), 10);

insert into bill_of_material (id, project_id, item_name, description, quantity, price_cents, item_order) values
    (1, 1, 'Servo SG90', 'The blue ones', 8, 249, 0),
    (2, 1, 'Screw M2', null, null, null, null),
    (3, 1, 'Battery', '', 1, 0, 1),
    (6, 4, 'Aluminium', 'By the metre', 3, 129900, 2);
select setval(pg_get_serial_sequence('bill_of_material', 'id'), 6);

insert into component (id, name, description, datasheet_url, created_at) values
    (1, 'Raspberry Pi Pico', 'Microcontroller', 'https://example.org/pico.pdf', '2023-03-01 09:00:00'),
    (2, 'raspberry pi pico', null, null, null),
    (5, 'SG90', 'Servo', '', '2023-03-01 09:01:00');
select setval(pg_get_serial_sequence('component', 'id'), 5);

insert into project_component (id, project_id, component_id, quantity, notes) values
    (1, 1, 1, 1, 'The brain'), (2, 1, 5, 8, null), (4, 4, 1, null, ''), (5, 7, 5, 2, 'x');
select setval(pg_get_serial_sequence('project_component', 'id'), 5);

insert into project_file (id, project_id, filename, original_filename, file_size, file_type, description, uploaded_at) values
    (1, 1, '0f8fad5b-d9cb-469f-a165-70867728950e.py',  'walk.py', 1234, 'text/x-python', 'Code: the gait', '2023-03-01 11:00:00'),
    (2, 1, '7c9e6679-7425-40de-944b-e07fc1f90ae7.py',  '../../x.py', 10, '.py', null, '2023-03-01 11:01:00'),
    (3, 1, 'a987fbc9-4bed-3078-cf07-9141ba07c9f3.stl', 'C:\Users\alice\leg "left".stl', null, null, '', null),
    (4, 4, '16fd2706-8baf-433b-82eb-8c7fada847da.py',  'walk.py', 0, 'text/x-python', null, '2023-03-03 11:00:00'),
    (8, 4, '6ba7b810-9dad-11d1-80b4-00c04fd430c8.py',  'walk.py', 25, 'text/x-python', 'The same name again', '2023-03-03 11:01:00');
select setval(pg_get_serial_sequence('project_file', 'id'), 8);

insert into project_image (id, project_id, filename, original_filename, display_order, caption, uploaded_at) values
    (1, 1, '886313e1-3b8a-5372-9b90-0c9aee199e5d.jpg', 'front.jpg', 1, 'Front', '2023-03-01 12:00:00'),
    (2, 1, 'c4a760a8-dbcf-5254-a0d9-6a4474bd1b62.png', '../images/side view.png', 0, null, '2023-03-01 12:01:00'),
    (3, 1, '9073926b-929f-31c2-abc9-fad77ae3e8eb.svg', 'plan.svg', null, '', null),
    (6, 4, '1b4e28ba-2fa1-11d2-883f-0016d3cca427.gif', 'arm.gif', 0, 'Moves', '2023-03-03 12:00:00');
select setval(pg_get_serial_sequence('project_image', 'id'), 6);
update project set primary_image_id = 2 where id = 1;
update project set primary_image_id = 6 where id = 4;

insert into project_link (id, project_id, url, title, link_type, description) values
    (1, 1, 'https://example.org/r', 'Reading', 'resource', 'Good'),
    (2, 1, 'https://example.org/v', 'Film', 'video', null),
    (3, 1, 'https://example.org/c', 'Course', 'course', ''),
    (4, 1, 'http://example.org/a?x=1&y=2', 'Article', 'article', null),
    (7, 4, '/projects/1', 'Its little sister', 'related_project', null);
select setval(pg_get_serial_sequence('project_link', 'id'), 7);

insert into tool_material (id, project_id, name, tool_type, notes) values
    (1, 1, 'Soldering iron', 'tool', '350 °C'), (2, 1, 'PLA', 'material', null), (5, 4, 'Saw', 'tool', '');
select setval(pg_get_serial_sequence('tool_material', 'id'), 5);
