"""How many one-time keys each device has left: a member of every answer of /sync, encoded once until it changes.

Specification: client-server API, "Extensions to /sync" of end-to-end encryption.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import one_time_keys as one_time_key_table
from storage.database import Cursor, Database
from storage.rows import Entry, KeyCountsRow

MOST_DEVICES: Final = 100_000


class KeyCounts:
    """A follower of the ring, constructed before those who wake readers, so that they find it current."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._known: Lru[int, bytes] = Lru(MOST_DEVICES)
        self._loading: dict[int, list[_Reading]] = {}
        ring.subscribe(self._published, KeyCountsRow)

    def cached(self, device: int) -> bytes | None:
        """The members device_one_time_keys_count and device_unused_fallback_key_types, if they are in memory."""
        return self._known.get(device)

    async def of(self, device: int) -> bytes:
        """The same, read where they are not."""
        known = self._known.get(device)
        if known is not None:
            return known
        reading = _Reading()
        under_way = self._loading.setdefault(device, [])
        under_way.append(reading)
        try:
            counts, unused = await self._database.read(_read, device)
        finally:
            under_way.remove(reading)
            if not under_way:
                self._loading.pop(device, None)
        encoded = b'"device_one_time_keys_count":%s,"device_unused_fallback_key_types":%s' % (
            msgspec.json.encode(counts),
            msgspec.json.encode(unused),
        )
        if reading.is_current:
            self._known.put(device, encoded)
        return encoded

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, KeyCountsRow):
                self._known.discard(entry.device)
                for reading in self._loading.get(entry.device, ()):
                    reading.is_current = False


class _Reading:
    """A look at the tables. What changed meanwhile may be missing in it."""

    __slots__ = ("is_current",)

    def __init__(self) -> None:
        self.is_current = True


def _read(tx: Cursor, device: int) -> tuple[dict[str, int], list[str]]:
    return one_time_key_table.counts(tx, device), one_time_key_table.unused_fallback_algorithms(tx, device)
