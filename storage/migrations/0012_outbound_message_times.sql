-- Messages to devices of another server's users wait for it only so long.

ALTER TABLE outbound_messages
    ADD COLUMN created_ts bigint NOT NULL DEFAULT (extract(epoch FROM statement_timestamp()) * 1000)::bigint;
CREATE INDEX outbound_messages_created ON outbound_messages (created_ts);
