-- What is taken from other servers, and what became of it.

CREATE TABLE inbound_transactions (
    origin       text   NOT NULL,
    txn_id       text   NOT NULL,
    answer       bytea  NOT NULL,
    received_ts  bigint NOT NULL,
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX inbound_transactions_age ON inbound_transactions (received_ts);

CREATE TABLE staged_pdus (
    staged       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id      text   COLLATE "C" NOT NULL,
    event_id     text   COLLATE "C" NOT NULL,
    origin       text   NOT NULL,
    json         bytea  NOT NULL,
    received_ts  bigint NOT NULL,
    UNIQUE (room_id, event_id)
);

CREATE TABLE backward_extremities (
    room      bigint NOT NULL,
    event_id  text   COLLATE "C" NOT NULL,
    depth     bigint NOT NULL,
    PRIMARY KEY (room, event_id)
);
CREATE INDEX backward_extremities_depth ON backward_extremities (room, depth);

CREATE TABLE event_verdicts (
    event_id     text   COLLATE "C" PRIMARY KEY,
    room_id      text   NOT NULL,
    origin       text   NOT NULL,
    verdict      text   NOT NULL,
    rule         text   NOT NULL,
    reason       text   NOT NULL,
    decided_ts   bigint NOT NULL
);
CREATE INDEX event_verdicts_age ON event_verdicts (decided_ts);

CREATE INDEX auth_edges_auth ON auth_edges USING gin (auth);
