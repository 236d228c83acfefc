-- When the devices or keys of a user changed last: servers that meet the user may have looked before that.

ALTER TABLE device_list_positions
    ADD COLUMN changed_ts bigint NOT NULL DEFAULT (extract(epoch FROM statement_timestamp()) * 1000)::bigint;
CREATE INDEX device_list_positions_changed ON device_list_positions (changed_ts);
