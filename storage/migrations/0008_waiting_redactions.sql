-- Redactions that came before the events that they are for.

CREATE TABLE waiting_redactions (
    room       bigint NOT NULL,
    target     text   COLLATE "C" NOT NULL,
    redaction  text   COLLATE "C" NOT NULL,
    PRIMARY KEY (room, target, redaction)
);
