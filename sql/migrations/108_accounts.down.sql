-- The older service knows no second factor and no unverified address.
drop trigger refuse_retired_name on "user";
drop trigger retire_name on "user";
drop function refuse_retired_name, retire_name;
drop table retired_name, failed_attempt, mail_token, backup_code;
drop index session_last_seen_at_idx, accountlog_changed_at_idx, user_created_at_idx;
alter table "user" drop email_verified, drop pending_email, drop totp_secret, drop totp_confirmed_at, drop totp_step,
    drop terms_version, drop terms_accepted_at;
