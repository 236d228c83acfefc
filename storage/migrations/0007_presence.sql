-- Whether users were there, and the messages that they attached to it.

CREATE TABLE presence (
    user_id         text   PRIMARY KEY REFERENCES users,
    presence        text   NOT NULL,
    status_msg      text,
    last_active_ts  bigint NOT NULL
);
CREATE INDEX presence_there ON presence (user_id) WHERE presence <> 'offline';
