"""One-time keys and fallback keys of local devices. Owns the tables one_time_keys and fallback_keys.

A key that was claimed stays for a while, so that an upload that is repeated cannot bring it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor

CLAIMED_KEPT: Final = 200
"""Claimed keys of a device that are remembered."""


@dataclass(frozen=True, slots=True)
class OneTimeKey:
    """A one-time key or a fallback key. `json` is an encoded object, or a string."""

    algorithm: str
    key_id: str
    json: bytes

    @property
    def name(self) -> str:
        """As clients name it."""
        return f"{self.algorithm}:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Claim:
    """Which key is wanted: one of an algorithm, of a device."""

    user_id: str
    device_id: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A key that is given out. `is_first_use`: it is a fallback key that nobody had before."""

    claim: Claim
    device: int
    key: OneTimeKey
    is_first_use: bool = False


class KeyChanged(Exception):
    """Another key is there under this id."""

    def __init__(self, key: OneTimeKey) -> None:
        super().__init__(key.name)
        self.key = key


def lock(tx: Cursor, device: int) -> bool:
    """Keep others from changing the keys of a device until the transaction ends; False if there is no such device."""
    tx.execute("SELECT FROM devices WHERE device = %s FOR NO KEY UPDATE", (device,))
    return tx.fetchone() is not None


def missing(tx: Cursor, device: int, keys: Sequence[OneTimeKey]) -> list[OneTimeKey]:
    """Those of the keys that were not uploaded before. Raises KeyChanged where another one waits under the same id."""
    tx.execute(
        "SELECT held.algorithm, held.key_id, held.is_claimed, held.json FROM one_time_keys AS held"
        " JOIN unnest(%s::text[], %s::text[]) AS given (algorithm, key_id) USING (algorithm, key_id)"
        " WHERE held.device = %s",
        ([key.algorithm for key in keys], [key.key_id for key in keys], device),
    )
    held = {(algorithm, key_id): (is_claimed, bytes(json)) for algorithm, key_id, is_claimed, json in tx.fetchall()}
    new = []
    for key in keys:
        is_claimed, json = held.get((key.algorithm, key.key_id), (True, b""))
        if json == key.json:
            continue
        if not is_claimed:
            raise KeyChanged(key)
        new.append(key)
    return new


def put(tx: Cursor, device: int, keys: Sequence[OneTimeKey]) -> None:
    """Keep keys which `missing` has found to be new, and forget the oldest of those claimed."""
    tx.execute(
        "INSERT INTO one_time_keys (device, algorithm, key_id, json)"
        " SELECT %s, algorithm, key_id, convert_to(json, 'UTF8')"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS key (algorithm, key_id, json)"
        " ON CONFLICT (device, algorithm, key_id) DO UPDATE SET json = excluded.json, number = DEFAULT,"
        " is_claimed = false",
        (
            device,
            [key.algorithm for key in keys],
            [key.key_id for key in keys],
            [key.json.decode() for key in keys],
        ),
    )
    tx.execute(
        "DELETE FROM one_time_keys WHERE device = %s AND is_claimed AND number <= (SELECT number FROM one_time_keys"
        " WHERE device = %s AND is_claimed ORDER BY number DESC OFFSET %s LIMIT 1)",
        (device, device, CLAIMED_KEPT),
    )


def put_fallback(tx: Cursor, device: int, keys: Sequence[OneTimeKey]) -> None:
    """Replace the fallback keys of some algorithms; one that is the same as before stays used if it was."""
    tx.execute(
        "INSERT INTO fallback_keys (device, algorithm, key_id, json)"
        " SELECT %s, algorithm, key_id, convert_to(json, 'UTF8')"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS key (algorithm, key_id, json)"
        " ON CONFLICT (device, algorithm) DO UPDATE SET key_id = excluded.key_id, json = excluded.json,"
        " is_used = false WHERE fallback_keys.json <> excluded.json",
        (
            device,
            [key.algorithm for key in keys],
            [key.key_id for key in keys],
            [key.json.decode() for key in keys],
        ),
    )


def counts(tx: Cursor, device: int) -> dict[str, int]:
    """How many unclaimed keys a device has, by algorithm."""
    tx.execute(
        "SELECT algorithm, count(*) FROM one_time_keys WHERE device = %s AND NOT is_claimed"
        " GROUP BY algorithm ORDER BY algorithm",
        (device,),
    )
    return dict(tx.fetchall())


def unused_fallback_algorithms(tx: Cursor, device: int) -> list[str]:
    """The algorithms for which a device has a fallback key that was not given out."""
    tx.execute("SELECT algorithm FROM fallback_keys WHERE device = %s AND NOT is_used ORDER BY algorithm", (device,))
    return [algorithm for (algorithm,) in tx.fetchall()]


def claim(tx: Cursor, claims: Sequence[Claim]) -> list[Claimed]:
    """Give out a key for each claim that can be met, the oldest first; each key once."""
    devices = _devices_of(tx, claims)
    wanted = [
        (devices[each.user_id, each.device_id], each) for each in claims if (each.user_id, each.device_id) in devices
    ]
    if not wanted:
        return []
    found = _claim_one_time(tx, wanted)
    met = {(each.device, each.claim.algorithm) for each in found}
    rest = [(device, each) for device, each in wanted if (device, each.algorithm) not in met]
    return found + _claim_fallback(tx, rest) if rest else found


def _devices_of(tx: Cursor, claims: Sequence[Claim]) -> dict[tuple[str, str], int]:
    tx.execute(
        "SELECT user_id, device_id, device FROM devices"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id) USING (user_id, device_id)",
        ([each.user_id for each in claims], [each.device_id for each in claims]),
    )
    return {(user_id, device_id): device for user_id, device_id, device in tx.fetchall()}


def _claim_one_time(tx: Cursor, wanted: Sequence[tuple[int, Claim]]) -> list[Claimed]:
    # What somebody else is about to take is passed over: nobody waits for anybody, and no key is taken twice.
    tx.execute(
        "WITH taken AS (SELECT key.* FROM unnest(%s::bigint[], %s::text[]) AS wanted (device, algorithm)"
        " CROSS JOIN LATERAL (SELECT device, algorithm, key_id FROM one_time_keys"
        " WHERE device = wanted.device AND algorithm = wanted.algorithm AND NOT is_claimed"
        " ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED) AS key)"
        " UPDATE one_time_keys AS key SET is_claimed = true FROM taken WHERE key.device = taken.device"
        " AND key.algorithm = taken.algorithm AND key.key_id = taken.key_id"
        " RETURNING key.device, key.algorithm, key.key_id, key.json",
        ([device for device, _ in wanted], [each.algorithm for _, each in wanted]),
    )
    claims = {(device, each.algorithm): each for device, each in wanted}
    return [
        Claimed(claims[device, algorithm], device, OneTimeKey(algorithm, key_id, bytes(json)))
        for device, algorithm, key_id, json in tx.fetchall()
    ]


def _claim_fallback(tx: Cursor, wanted: Sequence[tuple[int, Claim]]) -> list[Claimed]:
    tx.execute(
        "SELECT device, algorithm, key_id, json, is_used FROM fallback_keys"
        " JOIN unnest(%s::bigint[], %s::text[]) AS wanted (device, algorithm) USING (device, algorithm)",
        ([device for device, _ in wanted], [each.algorithm for _, each in wanted]),
    )
    claims = {(device, each.algorithm): each for device, each in wanted}
    found = [
        Claimed(claims[device, algorithm], device, OneTimeKey(algorithm, key_id, bytes(json)), not is_used)
        for device, algorithm, key_id, json, is_used in tx.fetchall()
    ]
    fresh = [each for each in found if each.is_first_use]
    if fresh:
        tx.execute(
            "UPDATE fallback_keys AS key SET is_used = true"
            " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS used (device, algorithm, key_id)"
            " WHERE key.device = used.device AND key.algorithm = used.algorithm AND key.key_id = used.key_id",
            (
                [each.device for each in fresh],
                [each.key.algorithm for each in fresh],
                [each.key.key_id for each in fresh],
            ),
        )
    return found
