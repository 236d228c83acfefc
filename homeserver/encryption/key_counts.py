"""How many one-time keys each device has left: a member of every answer of /sync, encoded once until it changes.

Specification: client-server API, "Extensions to /sync" of end-to-end encryption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.runtime.log import Ring
from homeserver.runtime.remembered import Remembered
from storage import one_time_keys as one_time_key_table
from storage.database import Cursor, Database
from storage.rows import Entry, KeyCountsRow

USUAL: Final = "signed_curve25519"
MOST_DEVICES: Final = 100_000


class KeyCounts:
    """A follower of the ring, constructed before those who wake readers, so that they find it current."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._known: Remembered[int, bytes] = Remembered(MOST_DEVICES)
        ring.subscribe(self._published, KeyCountsRow)

    def cached(self, device: int) -> bytes | None:
        """The members device_one_time_keys_count and device_unused_fallback_key_types, if they are in memory."""
        return self._known.get(device)

    async def of(self, device: int) -> bytes:
        """The same, read where they are not."""
        found = await self._known.of([device], lambda _: self._database.read(_read, device))
        return found[device]

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, KeyCountsRow):
                for device in entry.devices:
                    self._known.changed(device)


def with_usual(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts as clients get them: that of the usual algorithm is told even where there is nothing to count."""
    # Zero may be left out, but there are clients that then go on with the count of before, and upload no more.
    return {USUAL: 0, **counts}


def _read(tx: Cursor, device: int) -> dict[int, bytes]:
    counts = with_usual(one_time_key_table.counts(tx, device))
    encoded = b'"device_one_time_keys_count":%s,"device_unused_fallback_key_types":%s' % (
        msgspec.json.encode(counts),
        msgspec.json.encode(one_time_key_table.unused_fallback_algorithms(tx, device)),
    )
    return {device: encoded}
