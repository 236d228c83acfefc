"""Which servers are left alone because they did not answer, and for how long.

Only servers that fail are remembered, each in a few words: thousands of dead ones cost a dictionary entry each and a
row that is written when they are tried, up to every twelve hours. A server that is heard from is as good as new.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import structlog

from federation.outbound.errors import RemoteBackedOff
from homeserver.core import backoff
from homeserver.core.ids import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from storage import destinations as table
from storage.database import Database
from storage.destinations import FailingDestination

SAVE_EVERY_S: Final = 10.0

log: Final = structlog.get_logger("federation.destinations")


class Destinations:
    """The servers that fail."""

    def __init__(self, database: Database, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._failing: dict[str, FailingDestination] = {}
        self._unsaved: set[str] = set()
        self._listeners: list[Callable[[ServerName], object]] = []

    async def start(self, tasks: Tasks) -> None:
        """Read what was known before, and keep the table up to date from now on."""
        for each in await self._database.read(table.all_failing):
            self._failing[each.server_name] = each
        tasks.every("save destinations", SAVE_EVERY_S, self.save)

    def on_recovery(self, listener: Callable[[ServerName], object]) -> None:
        """Tell the listener of each server that is heard from after it had failed."""
        self._listeners.append(listener)

    def retry_at_ms(self, server: str) -> int | None:
        """When a failing server will be tried again; None for one that does not fail."""
        failing = self._failing.get(server)
        return None if failing is None else failing.retry_ts

    def check(self, server: str) -> None:
        """Raise RemoteBackedOff if the server is to be left alone now."""
        failing = self._failing.get(server)
        if failing is not None and failing.retry_ts > self._clock.now_ms():
            raise RemoteBackedOff(server, failing.retry_ts)

    def failed(self, server: str, asked_at_ms: int) -> None:
        """A request that was begun at this time got no answer. Requests that fail together count once."""
        now_ms = self._clock.now_ms()
        failing = self._failing.get(server)
        if failing is not None and asked_at_ms < failing.retry_ts:
            return
        failures = 1 if failing is None else failing.failures + 1
        since_ts = now_ms if failing is None else failing.failing_since_ts
        retry_ts = now_ms + backoff.delay_ms(backoff.DESTINATION, failures, self._chance())
        self._failing[server] = FailingDestination(server, failures, since_ts, retry_ts)
        self._unsaved.add(server)

    def heard_from(self, server: str) -> None:
        """The server answered, or asked us something: it is there."""
        if self._failing.pop(server, None) is None:
            return
        self._unsaved.add(server)
        for listener in self._listeners:
            listener(ServerName(server))

    async def save(self) -> None:
        """Write what has changed to the table."""
        if not self._unsaved:
            return
        unsaved, self._unsaved = self._unsaved, set()
        changed = [self._failing[server] for server in unsaved if server in self._failing]
        recovered = [server for server in unsaved if server not in self._failing]
        try:
            await self._database.write(table.save, changed, recovered)
        except BaseException:
            self._unsaved |= unsaved
            raise
