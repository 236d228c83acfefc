-- One-time keys are kept as they came, a row for the keys of one upload, with the number of those that were given out.

-- All of a device become one row for each algorithm: those that were given out first, then the others in their order.
CREATE TEMPORARY TABLE converted ON COMMIT DROP AS
SELECT device, row_number() OVER (PARTITION BY device ORDER BY algorithm) AS number, algorithm, count(*) AS size,
    count(*) FILTER (WHERE is_claimed) AS given,
    '{' || string_agg(to_json(key_id)::text || ':' || convert_from(json, 'UTF8'), ',' ORDER BY is_claimed DESC, number)
    || '}' AS json
FROM one_time_keys GROUP BY device, algorithm;

DROP TABLE one_time_keys;
CREATE TABLE one_time_keys (
    device     bigint  NOT NULL REFERENCES devices ON DELETE CASCADE,
    number     bigint  NOT NULL,
    algorithm  text    NOT NULL,
    size       integer NOT NULL,
    given      integer NOT NULL DEFAULT 0,
    json       text    NOT NULL,
    PRIMARY KEY (device, number)
) WITH (fillfactor = 80);
ALTER TABLE one_time_keys ALTER COLUMN json SET STORAGE EXTERNAL;

INSERT INTO one_time_keys (device, number, algorithm, size, given, json)
SELECT device, number, algorithm, size, given, json FROM converted;
