-- What other servers are still to be sent.

CREATE TABLE lagging_destinations (
    server_name  text   COLLATE "C" PRIMARY KEY,
    position     bigint NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE relayed_events (
    position        bigint PRIMARY KEY,
    room            bigint NOT NULL,
    event_position  bigint NOT NULL
);
CREATE INDEX relayed_events_event ON relayed_events (room, event_position);

CREATE TABLE outbound_messages (
    server_name  text   COLLATE "C" NOT NULL,
    position     bigint NOT NULL,
    json         bytea  NOT NULL,
    PRIMARY KEY (server_name, position)
);

CREATE INDEX memberships_server ON memberships (substr(user_id, strpos(user_id, ':') + 1), room);
