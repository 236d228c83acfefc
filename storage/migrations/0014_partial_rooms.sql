-- Rooms that were joined without most of their members, until the rest of their state is here.

CREATE TABLE partial_rooms (
    room           bigint PRIMARY KEY REFERENCES rooms,
    join_position  bigint NOT NULL,
    server_name    text   NOT NULL
);

CREATE TABLE partial_servers (
    room         bigint NOT NULL,
    server_name  text   COLLATE "C" NOT NULL,
    PRIMARY KEY (room, server_name)
);
CREATE INDEX partial_servers_server ON partial_servers (server_name);
