"""Signing keys of other servers, and the responses in which they were published. Owns server_keys and key_responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from homeserver.core.server_keys import VerifyKey


@dataclass(frozen=True, slots=True)
class KeyResponse:
    """A response about a server's keys, as it came."""

    server_name: str
    key_ids: tuple[str, ...]
    json: bytes
    valid_until_ts: int
    fetched_ts: int


def load(tx: Cursor, servers: Sequence[str]) -> list[tuple[str, VerifyKey]]:
    """All known keys of these servers."""
    tx.execute(
        "SELECT server_name, key_id, verify_key, valid_until_ts, expired_ts FROM server_keys"
        " WHERE server_name = ANY(%s)",
        (list(servers),),
    )
    return [(server, VerifyKey(*rest)) for server, *rest in tx.fetchall()]


def store(tx: Cursor, keys: Sequence[tuple[str, VerifyKey]], responses: Sequence[KeyResponse]) -> None:
    """Keep keys as they are now known, and the newest response that tells of each."""
    # In the same order everywhere, so that two who store at once wait for each other instead of locking each other out.
    rows = sorted(keys, key=lambda pair: (pair[0], pair[1].key_id))
    tx.execute(
        "INSERT INTO server_keys (server_name, key_id, verify_key, valid_until_ts, expired_ts)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (server_name, key_id) DO UPDATE SET verify_key = excluded.verify_key,"
        " valid_until_ts = excluded.valid_until_ts, expired_ts = excluded.expired_ts",
        (
            [server for server, _ in rows],
            [key.key_id for _, key in rows],
            [key.key_base64 for _, key in rows],
            [key.valid_until_ts for _, key in rows],
            [key.expired_ts for _, key in rows],
        ),
    )
    newest = {
        (response.server_name, key_id): response
        for response in sorted(responses, key=lambda response: response.valid_until_ts)
        for key_id in response.key_ids
    }
    told = sorted(newest.items(), key=lambda item: item[0])
    tx.execute(
        "INSERT INTO key_responses (server_name, key_id, json, valid_until_ts, fetched_ts)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (server_name, key_id) DO UPDATE SET json = excluded.json,"
        " valid_until_ts = excluded.valid_until_ts, fetched_ts = excluded.fetched_ts"
        " WHERE excluded.valid_until_ts >= key_responses.valid_until_ts",
        (
            [server for (server, _), _ in told],
            [key_id for (_, key_id), _ in told],
            [response.json for _, response in told],
            [response.valid_until_ts for _, response in told],
            [response.fetched_ts for _, response in told],
        ),
    )


def responses_of(tx: Cursor, server: str) -> list[KeyResponse]:
    """The responses in which the keys of a server were published, each once, the newest first."""
    tx.execute(
        "SELECT server_name, array_agg(key_id), json, valid_until_ts, max(fetched_ts) FROM key_responses"
        " WHERE server_name = %s GROUP BY server_name, json, valid_until_ts ORDER BY valid_until_ts DESC",
        (server,),
    )
    return [
        KeyResponse(name, tuple(key_ids), bytes(json), valid_until_ts, fetched_ts)
        for name, key_ids, json, valid_until_ts, fetched_ts in tx.fetchall()
    ]
