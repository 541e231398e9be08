-- No schema_version, as on some installations of the older service. For tests; apply last, at any state.

drop table if exists schema_version;
