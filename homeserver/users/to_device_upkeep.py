"""Queues of messages to devices do not grow without end: the oldest go, and those that nobody has fetched for long.

Specification: client-server API, "Send-to-Device messaging" leaves it to the server how long it keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from config.settings import ToDevice as ToDeviceSettings
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from homeserver.runtime.tasks import Tasks
from storage import device_transactions as transaction_table
from storage import received_messages as received_table
from storage import sending
from storage import to_device as to_device_table
from storage.database import Cursor, Database
from storage.rows import Entry, ToDeviceRow

EVERY_S: Final = 600.0
AT_ONCE: Final = 1_000
TRANSACTIONS_KEPT_MS: Final = 7 * 24 * 3_600_000
"""A client that repeats a request does so sooner."""
RECEIVED_KEPT_MS: Final = 30 * 24 * 3_600_000
"""Other servers repeat a transaction for as long as we do not answer it."""
MOST_DEVICES: Final = 50_000

log: Final = structlog.get_logger("homeserver.users")


class ToDeviceUpkeep:
    """Counts what each device is sent, and looks into its queue once that is enough to have filled it."""

    def __init__(self, database: Database, ring: Ring, tasks: Tasks, clock: Clock, settings: ToDeviceSettings) -> None:
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._settings = settings
        self._sent: Lru[int, int] = Lru(MOST_DEVICES)
        """Device → messages since its queue was looked at."""
        self._look_after = max(1, settings.max_waiting // 10)
        ring.subscribe(self._published, ToDeviceRow)

    async def run(self) -> None:
        """Drop what is too old, at the start and now and then, until cancelled."""
        while True:
            await self.drop_old()
            await self._clock.sleep(EVERY_S)

    async def drop_old(self) -> None:
        """Drop what is too old."""
        now_ms = self._clock.now_ms()
        oldest_ms = now_ms - self._settings.max_age
        if dropped := await self._all(to_device_table.delete_older, oldest_ms):
            log.info("messages to devices were dropped, as nobody fetched them in time", messages=dropped)
        if dropped := await self._all(sending.delete_older_messages, oldest_ms):
            log.info("messages to devices were dropped, as their servers did not take them", messages=dropped)
        await self._all(received_table.delete_older, now_ms - RECEIVED_KEPT_MS)
        await self._all(transaction_table.delete_older, now_ms - TRANSACTIONS_KEPT_MS)

    async def _all(self, delete_some: Callable[[Cursor, int, int], int], before_ms: int) -> int:
        """Delete what is older, some of it at a time; how much that was."""
        dropped = 0
        while (number := await self._database.write(delete_some, before_ms, AT_ONCE)) == AT_ONCE:
            dropped += number
        return dropped + number

    async def _trim(self, device: int) -> None:
        dropped = await self._database.write(to_device_table.trim, device, self._settings.max_waiting)
        if dropped:
            log.warning(
                "a device does not fetch its messages; the oldest were dropped", device=device, messages=dropped
            )

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, ToDeviceRow):
                sent = (self._sent.get(entry.device) or 0) + 1
                if sent >= self._look_after:
                    sent = 0
                    self._tasks.start("trim a queue of messages to a device", self._trim(entry.device))
                self._sent.put(entry.device, sent)
