"""One-time keys and fallback keys of local devices. Owns the tables one_time_keys and fallback_keys.

One-time keys are kept as they came: a row for each upload, and in it how many of its keys were given out. Who gives
them out is `homeserver.encryption.stock`. Keys that were given out stay for a while, so that an upload that is
repeated cannot bring them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec
from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements

_KEYS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class OneTimeKey(NamedTuple):
    """A one-time key or a fallback key. `json` is an encoded object, or a string."""

    algorithm: str
    key_id: str
    json: bytes

    @property
    def name(self) -> str:
        """As clients name it."""
        return f"{self.algorithm}:{self.key_id}"


class NewKey(Protocol):
    """What is asked of a key that is to be kept; a `OneTimeKey` has it, and more than that does no harm."""

    @property
    def algorithm(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def json(self) -> bytes: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class KeyBatch:
    """One-time keys of one algorithm that came together, by id, in order; the first `given` of them are given out."""

    number: int
    algorithm: str
    keys: Mapping[str, msgspec.Raw]
    given: int = 0


Given = tuple[int, int, int]
"""A device, the number of an upload, and how many keys of that are given out now."""


class Claim(NamedTuple):
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

    def __init__(self, key: NewKey) -> None:
        super().__init__(key.name)
        self.key = key


def batches(after: int, keys: Iterable[NewKey]) -> list[KeyBatch]:
    """New keys as they are kept: one batch for each algorithm, with numbers that come after one."""
    by_algorithm: dict[str, dict[str, msgspec.Raw]] = {}
    for key in keys:
        by_algorithm.setdefault(key.algorithm, {})[key.key_id] = msgspec.Raw(key.json)
    return [KeyBatch(after + number, *each) for number, each in enumerate(by_algorithm.items(), 1)]


def insert(tx: Statements, device: int, batches: Iterable[KeyBatch]) -> None:
    """Keep keys that are new, unless the device was deleted meanwhile."""
    for batch in batches:
        tx.execute(
            "INSERT INTO one_time_keys (device, number, algorithm, size, json)"
            " SELECT device, %s, %s, %s, %s FROM devices WHERE device = %s",
            (batch.number, batch.algorithm, len(batch.keys), msgspec.json.encode(batch.keys).decode(), device),
        )


def forget(tx: Statements, device: int, numbers: Sequence[int]) -> None:
    """Forget uploads of which all keys are given out."""
    tx.execute("DELETE FROM one_time_keys WHERE device = %s AND number = ANY(%s)", (device, list(numbers)))


def delete_of(tx: Statements, devices: Sequence[int]) -> None:
    """Delete all one-time keys of devices, which are deleted themselves; their fallback keys go by themselves."""
    tx.execute("DELETE FROM one_time_keys WHERE device = ANY(%s)", (list(devices),))


def give(tx: Statements, given: Sequence[Given]) -> None:
    """Note which keys are given out; each upload once."""
    tx.execute(
        "UPDATE one_time_keys AS held SET given = now.given"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS now (device, number, given)"
        " WHERE held.device = now.device AND held.number = now.number",
        (
            [device for device, _, _ in given],
            [number for _, number, _ in given],
            [count for _, _, count in given],
        ),
    )


def of_devices(tx: Cursor, devices: Sequence[int]) -> dict[int, list[KeyBatch]]:
    """All that is kept of some devices, in the order of upload."""
    found: dict[int, list[KeyBatch]] = {device: [] for device in devices}
    tx.execute(
        "SELECT device, number, algorithm, json, given FROM one_time_keys WHERE device = ANY(%s)"
        " ORDER BY device, number",
        (list(devices),),
    )
    for device, number, algorithm, json, given in tx.fetchall():
        found[device].append(KeyBatch(number, algorithm, _KEYS.decode(json.encode()), given))
    return found


def counts(tx: Cursor, device: int) -> dict[str, int]:
    """How many keys a device has that are not given out, by algorithm."""
    tx.execute(
        "SELECT algorithm, sum(size - given) FROM one_time_keys WHERE device = %s AND given < size"
        " GROUP BY algorithm ORDER BY algorithm",
        (device,),
    )
    return {algorithm: int(left) for algorithm, left in tx.fetchall()}


def put_fallback(tx: Statements, device: int, keys: Sequence[NewKey]) -> None:
    """Replace the fallback keys of some algorithms; one that is the same as before stays used if it was."""
    tx.execute(
        "INSERT INTO fallback_keys (device, algorithm, key_id, json)"
        " SELECT devices.device, algorithm, key_id, convert_to(json, 'UTF8')"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS key (algorithm, key_id, json)"
        " JOIN devices ON devices.device = %s"
        " ON CONFLICT (device, algorithm) DO UPDATE SET key_id = excluded.key_id, json = excluded.json,"
        " is_used = false WHERE fallback_keys.json <> excluded.json",
        (
            [key.algorithm for key in keys],
            [key.key_id for key in keys],
            [key.json.decode() for key in keys],
            device,
        ),
    )


def unused_fallback_algorithms(tx: Cursor, device: int) -> list[str]:
    """The algorithms for which a device has a fallback key that was not given out."""
    tx.execute("SELECT algorithm FROM fallback_keys WHERE device = %s AND NOT is_used ORDER BY algorithm", (device,))
    return [algorithm for (algorithm,) in tx.fetchall()]


def claim_fallback(tx: Cursor, wanted: Sequence[tuple[int, Claim]]) -> list[Claimed]:
    """Give out the fallback keys of devices whose one-time keys are used up, as far as there are any."""
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
