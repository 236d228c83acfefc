-- Rooms whose state lacks events, since the keys that these are signed with were not to be had.

CREATE TABLE unfinished_states (
    room           bigint PRIMARY KEY REFERENCES rooms,
    join_position  bigint NOT NULL,
    server_name    text   NOT NULL,
    lacking        int    NOT NULL,
    since_ts       bigint NOT NULL
);
