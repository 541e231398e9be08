-- When each kind of upkeep was last done, by whichever instance.
create table job (
    name   varchar primary key,
    ran_at timestamp
);
