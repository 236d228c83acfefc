-- Keys for end-to-end encryption: of devices, of users, one-time keys, backups, dehydrated devices.

CREATE INDEX events_members ON events (room, position) WHERE type = 'm.room.member';

ALTER TABLE to_device ADD COLUMN created_ts bigint NOT NULL
    DEFAULT (extract(epoch FROM statement_timestamp()) * 1000)::bigint;
CREATE INDEX device_transactions_created ON device_transactions (created_ts);
CREATE INDEX to_device_created ON to_device (created_ts);

CREATE TABLE received_messages (
    origin      text   NOT NULL,
    message_id  text   NOT NULL,
    created_ts  bigint NOT NULL,
    PRIMARY KEY (origin, message_id)
);
CREATE INDEX received_messages_created ON received_messages (created_ts);

CREATE TABLE device_keys (
    device  bigint PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    json    bytea  NOT NULL
);

CREATE TABLE one_time_keys (
    device      bigint  NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm   text    NOT NULL,
    key_id      text    NOT NULL,
    number      bigint  GENERATED ALWAYS AS IDENTITY,
    is_claimed  boolean NOT NULL DEFAULT false,
    json        bytea   NOT NULL,
    PRIMARY KEY (device, algorithm, key_id)
);
CREATE INDEX one_time_keys_order ON one_time_keys (device, algorithm, number) WHERE NOT is_claimed;

CREATE TABLE fallback_keys (
    device     bigint  NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm  text    NOT NULL,
    key_id     text    NOT NULL,
    is_used    boolean NOT NULL DEFAULT false,
    json       bytea   NOT NULL,
    PRIMARY KEY (device, algorithm)
);

CREATE TABLE cross_signing_keys (
    user_id     text  COLLATE "C" NOT NULL,
    usage       text  NOT NULL,
    public_key  text  NOT NULL,
    json        bytea NOT NULL,
    PRIMARY KEY (user_id, usage)
);

CREATE TABLE key_signatures (
    user_id     text COLLATE "C" NOT NULL,
    key_id      text NOT NULL,
    signer      text COLLATE "C" NOT NULL,
    signer_key  text NOT NULL,
    signature   text NOT NULL,
    position    bigint NOT NULL,
    PRIMARY KEY (user_id, key_id, signer, signer_key)
);
CREATE INDEX key_signatures_signer ON key_signatures (signer, position) WHERE signer <> user_id;

CREATE TABLE device_list_positions (
    user_id    text   COLLATE "C" PRIMARY KEY,
    position   bigint NOT NULL,
    stream_id  bigint,
    previous   bigint
) WITH (fillfactor = 80);
CREATE INDEX device_list_positions_position ON device_list_positions (position);

CREATE TABLE remote_device_lists (
    user_id    text    COLLATE "C" PRIMARY KEY,
    stream_id  bigint,
    is_stale   boolean NOT NULL
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (user_id) WHERE is_stale;

CREATE TABLE remote_devices (
    user_id    text  COLLATE "C" NOT NULL REFERENCES remote_device_lists ON DELETE CASCADE,
    device_id  text  NOT NULL,
    json       bytea NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE key_backups (
    user_id     text    NOT NULL REFERENCES users,
    version     bigint  NOT NULL,
    algorithm   text    NOT NULL,
    auth_data   bytea   NOT NULL,
    etag        bigint  NOT NULL DEFAULT 0,
    sessions    bigint  NOT NULL DEFAULT 0,
    is_deleted  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version)
);

CREATE TABLE key_backup_sessions (
    user_id              text    NOT NULL,
    version              bigint  NOT NULL,
    room_id              text    NOT NULL,
    session_id           text    NOT NULL,
    is_verified          boolean NOT NULL,
    first_message_index  bigint  NOT NULL,
    forwarded_count      bigint  NOT NULL,
    session_data         bytea   NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backups ON DELETE CASCADE
);

CREATE TABLE dehydrated_devices (
    user_id      text   PRIMARY KEY REFERENCES users,
    device       bigint NOT NULL UNIQUE REFERENCES devices ON DELETE CASCADE,
    device_data  bytea  NOT NULL
);
