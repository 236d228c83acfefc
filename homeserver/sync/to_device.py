"""The queue of messages for each device. A message leaves it only when the device has shown that it has it.

That is: by asking /sync with a token from after the message, or by acknowledging a position over WebSocket.
Specification: client-server API, "Send-to-Device messaging".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homeserver.rooms.client_events import json_array
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import to_device as to_device_table
from storage.database import Cursor, Database
from storage.rows import Entry, ToDeviceRow

MOST_DEVICES = 100_000
MOST_AT_START = 5_000
"""Messages in the first answer to a device; the rest comes with the next ones."""


class ToDeviceQueue:
    """Reads and empties the queues. A follower of the ring, so that an empty queue costs no look at the table."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._oldest: Lru[int, int] = Lru(MOST_DEVICES)
        """Device → position of its oldest waiting message, 0 where none waits; missing where we do not know."""
        ring.subscribe(self._published, ToDeviceRow)

    async def acknowledge(self, device: int, position: int) -> None:
        """The device has everything up to `position`: those messages are not needed any more."""
        oldest = self._oldest.get(device)
        if oldest == 0 or (oldest is not None and oldest > position):
            return
        # What is published while we wait below must not be overwritten by what we read before.
        self._oldest.discard(device)
        oldest = await self._database.write(_delete_upto, device, position)
        if device not in self._oldest:
            self._oldest.put(device, oldest)

    def has_nothing_for(self, device: int) -> bool:
        """Whether we know, without looking it up, that no message waits for this device."""
        return self._oldest.get(device) == 0

    async def waiting(self, device: int, upto: int) -> list[ToDeviceRow]:
        """All messages that wait for a device, oldest first."""
        if self._oldest.get(device) == 0:
            return []
        return await self._database.read(to_device_table.waiting, device, 0, upto, MOST_AT_START)

    @staticmethod
    def encode(rows: Sequence[ToDeviceRow]) -> bytes:
        """An encoded array of messages."""
        return json_array(row.json for row in rows)

    def _published(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, ToDeviceRow) and self._oldest.get(entry.device) in (None, 0):
                self._oldest.put(entry.device, entry.position)


def _delete_upto(tx: Cursor, device: int, position: int) -> int:
    """Delete what the device has; the position of its oldest message that is left, 0 if none is."""
    to_device_table.delete_upto(tx, device, position)
    left = to_device_table.waiting(tx, device, position, 2**63 - 1, 1)
    return left[0].position if left else 0
