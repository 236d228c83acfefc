"""The numbers of local devices, remembered until the device changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from homeserver.runtime.log import Ring
from homeserver.runtime.remembered import Remembered
from storage import devices as device_table
from storage.database import Database
from storage.rows import DeviceListRow, Entry

MOST_DEVICES: Final = 100_000

_Name = tuple[str, str]
"""User id and device id."""


class DeviceNumbers:
    """A follower of the ring: a device that is deleted is told there."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._known: Remembered[_Name, int] = Remembered(MOST_DEVICES)
        ring.subscribe(self._published, DeviceListRow)

    async def of(self, names: Iterable[_Name]) -> dict[_Name, int]:
        """The numbers of those devices that there are, by user id and device id."""
        return await self._known.of(names, lambda missing: self._database.read(device_table.numbers, missing))

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, DeviceListRow) and entry.device_id is not None:
                self._known.changed((entry.user_id, entry.device_id))
