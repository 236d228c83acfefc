-- Signing keys of other servers, the responses that told of them, and servers that do not answer.

CREATE TABLE server_keys (                   -- signing keys of other servers
    server_name     text   NOT NULL,
    key_id          text   NOT NULL,
    verify_key      text   NOT NULL,         -- base64
    valid_until_ts  bigint NOT NULL,         -- at most 7 days after it was heard
    expired_ts      bigint,                  -- when the server stopped using it; NULL: in use
    PRIMARY KEY (server_name, key_id)
) WITH (fillfactor = 80);

CREATE TABLE key_responses (                 -- the newest response that tells of a key, for those who ask us as a notary
    server_name     text   NOT NULL,
    key_id          text   NOT NULL,
    json            bytea  NOT NULL,
    valid_until_ts  bigint NOT NULL,         -- as the server said
    fetched_ts      bigint NOT NULL,
    PRIMARY KEY (server_name, key_id)
) WITH (fillfactor = 80);

CREATE TABLE destinations (                  -- servers that do not answer; the others have no row
    server_name       text    PRIMARY KEY,
    failures          integer NOT NULL,
    failing_since_ts  bigint  NOT NULL,
    retry_ts          bigint  NOT NULL
) WITH (fillfactor = 80);
