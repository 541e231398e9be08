-- Letters that wait to be sent. What one says and to whom is sealed, since it
-- can hold a link that changes a password; the row goes when the letter does.
create table outbox (
    id              serial primary key,
    letter          bytea not null,
    created_at      timestamp not null,
    next_attempt_at timestamp not null,
    attempts        integer not null default 0,
    last_error      varchar -- never with the recipient's address
);
create index outbox_next_attempt_at_idx on outbox (next_attempt_at);

-- Wakes the workers when the transaction commits.
create function notify_outbox() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end $$;
create trigger notify_outbox after insert on outbox for each statement execute function notify_outbox();
