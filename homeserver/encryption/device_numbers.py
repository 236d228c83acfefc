"""The numbers of local devices, remembered until the device changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import devices as device_table
from storage.database import Database
from storage.rows import DeviceListRow, Entry

MOST_DEVICES: Final = 100_000

_Name = tuple[str, str]
"""User id and device id."""


class DeviceNumbers:
    """A follower of the ring: a device that is deleted is told there, with the keys that go with it."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._known: Lru[_Name, int] = Lru(MOST_DEVICES)
        self._changes = 0
        ring.subscribe(self._published, DeviceListRow)

    async def of(self, names: Iterable[_Name]) -> dict[_Name, int]:
        """The numbers of those devices that there are, by user id and device id."""
        found: dict[_Name, int] = {}
        missing: list[_Name] = []
        for name in names:
            number = self._known.get(name)
            if number is None:
                missing.append(name)
            else:
                found[name] = number
        if missing:
            changes = self._changes
            read = await self._database.read(device_table.numbers, missing)
            found.update(read)
            if changes == self._changes:
                for name, number in read.items():
                    self._known.put(name, number)
        return found

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, DeviceListRow) and entry.device_id is not None:
                self._changes += 1
                self._known.discard((entry.user_id, entry.device_id))
