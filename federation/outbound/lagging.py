"""Servers that have not got everything, from where on, and when they are tried again.

A server that is away costs an entry in memory and a row in a table, written when it falls back and when it is back.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

import structlog
from twisted.internet.defer import CancelledError, Deferred

from federation.outbound.destinations import Destinations
from federation.outbound.errors import RemoteError
from homeserver.core import backoff
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks

LOOK_EVERY_S: Final = 0.5
MOST_AT_ONCE: Final = 20
SPREAD_MS: Final = 10_000
"""After a start the servers that lag behind are tried within this time, not all at once."""

log: Final = structlog.get_logger("federation.sender")


class CatchUp(Protocol):
    """Sends what a server has missed."""

    async def __call__(self, server: str, after: int, upto: int) -> None:
        """Send what came in (after, upto]. Raises RemoteError."""
        ...


class Lagging:
    """The servers that lag behind."""

    def __init__(self, catch_up: CatchUp, destinations: Destinations, clock: Clock) -> None:
        self._catch_up = catch_up
        self._destinations = destinations
        self._clock = clock
        self._positions: dict[str, int] = {}
        self._changed: set[str] = set()
        self._caught_up: set[str] = set()
        self._refusals: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._running: set[str] = set()
        self._head: Callable[[], int] = lambda: 0
        self._is_busy: Callable[[str], bool] = lambda server: False
        self._tasks: Tasks | None = None
        self._waiting: Deferred[None] | None = None

    def begin(self, positions: Mapping[str, int], head: Callable[[], int], is_busy: Callable[[str], bool]) -> None:
        """Take up what was known before; `head` tells how far the sender is, `is_busy` to whom it is sending."""
        self._positions.update(positions)
        self._head = head
        self._is_busy = is_busy
        now_ms = self._clock.now_ms()
        for server in positions:
            self._plan(server, now_ms + int(SPREAD_MS * random.random()))
        self._destinations.on_recovery(self.is_back)

    def start(self, tasks: Tasks) -> None:
        """Try them when their time comes."""
        self._tasks = tasks
        tasks.keep("try servers that lag behind", self._keep_looking)

    def __contains__(self, server: str) -> bool:
        return server in self._positions

    def add(self, server: str, position: int, error: RemoteError | None) -> None:
        """A server has everything up to this position, and what follows must wait."""
        if server in self._positions:
            self._positions[server] = min(position, self._positions[server])
            return
        if error is not None:
            log.info("a server falls behind", destination=server, position=position, reason=str(error))
        self._positions[server] = position
        self._changed.add(server)
        self._caught_up.discard(server)
        self._try_later(server, is_failure=error is not None)

    def is_back(self, server: str) -> None:
        """A server was heard from."""
        if server in self._positions and server not in self._running:
            self._plan(server, self._clock.now_ms())

    def unsaved(self) -> tuple[dict[str, int], list[str]]:
        """What is to be written down: where servers are that lag behind, and which no longer do."""
        changed = {server: self._positions[server] for server in self._changed if server in self._positions}
        caught_up = list(self._caught_up)
        self._changed.clear()
        self._caught_up.clear()
        return changed, caught_up

    def still_unsaved(self, changed: Collection[str], caught_up: Collection[str]) -> None:
        """It could not be written."""
        self._changed.update(server for server in changed if server in self._positions)
        self._caught_up.update(server for server in caught_up if server not in self._positions)

    def _plan(self, server: str, at_ms: int) -> None:
        heapq.heappush(self._due, (at_ms, server))
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def _try_later(self, server: str, *, is_failure: bool) -> None:
        now_ms = self._clock.now_ms()
        if not is_failure:
            self._plan(server, now_ms)
            return
        retry_ms = self._destinations.retry_at_ms(server)
        if retry_ms is None:
            # It answers, but does not take it.
            count = self._refusals[server] = self._refusals.get(server, 0) + 1
            retry_ms = now_ms + backoff.delay_ms(backoff.DESTINATION, count, random.random())
        self._plan(server, retry_ms)

    async def _keep_looking(self) -> None:
        while True:
            if not self._due:
                # Usually none lags behind: then there is nothing to wake up for.
                self._waiting = Deferred()
                await self._waiting
            await self._clock.sleep(LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        now_ms = self._clock.now_ms()
        while self._due and self._due[0][0] <= now_ms and len(self._running) < MOST_AT_ONCE:
            _, server = heapq.heappop(self._due)
            if self._is_busy(server):
                # One transaction at a time.
                self._plan(server, now_ms + int(LOOK_EVERY_S * 1000))
            elif server in self._positions and server not in self._running and self._tasks is not None:
                self._running.add(server)
                self._tasks.start(f"bring {server} up to date", self._bring_up_to_date(server))

    async def _bring_up_to_date(self, server: str) -> None:
        try:
            while (position := self._positions[server]) != (upto := self._head()):
                await self._catch_up(server, position, upto)
                self._positions[server] = upto
                self._changed.add(server)
        except CancelledError:
            raise
        except RemoteError as error:
            log.debug("a server is still not to be had", destination=server, reason=str(error))
            self._try_later(server, is_failure=True)
        except BaseException:
            self._try_later(server, is_failure=True)
            raise
        else:
            del self._positions[server]
            self._changed.discard(server)
            self._refusals.pop(server, None)
            self._caught_up.add(server)
            log.info("a server is up to date again", destination=server)
        finally:
            self._running.discard(server)
