"""Waits for rooms whose members are not all known yet. A follower of the ring."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred

from homeserver.rooms.room import Room
from homeserver.runtime.clock import Clock
from homeserver.runtime.ring import Ring
from homeserver.web.errors import MatrixError, NotFound
from storage.rows import Entry, StateRow

PATIENCE_S: Final = 30.0
PATIENCE_FOR_SERVERS_S: Final = 5.0
"""Other servers can ask others."""


class Wholeness:
    """Who needs all members of a room waits here."""

    def __init__(self, ring: Ring, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[int, list[Deferred[bool]]] = {}
        ring.subscribe(self._published, StateRow)

    async def of(self, room: Room) -> None:
        """Return when the room's state is all here; a 504 if that takes too long."""
        if not await self.within(room, PATIENCE_S):
            message = "The members of this room are still being fetched from another server: try again soon."
            raise MatrixError(504, "M_UNKNOWN", message)

    async def for_servers(self, room: Room) -> None:
        """The same for another server: NotFound if it takes long, for there are others to ask."""
        if not await self.within(room, PATIENCE_FOR_SERVERS_S):
            raise NotFound("This server does not know all members of the room yet: ask another one.")

    async def within(self, room: Room, patience_s: float) -> bool:
        """Wait for so long; whether the room's state is all here then."""
        if room.partial is None:
            return True
        waiter: Deferred[bool] = Deferred()
        waiting = self._waiting.setdefault(room.number, [])
        waiting.append(waiter)
        timer = self._clock.call_later(patience_s, lambda: None if waiter.called else waiter.callback(False))
        try:
            return await waiter
        finally:
            timer.cancel()
            waiting.remove(waiter)
            if not waiting and self._waiting.get(room.number) is waiting:
                del self._waiting[room.number]

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, StateRow):
                # Soon: the events get the states that go with it when all followers know.
                waiting = tuple(self._waiting.get(entry.room, ()))
                self._clock.call_later(0, partial(_fire, waiting))


def _fire(waiting: Sequence[Deferred[bool]]) -> None:
    for waiter in waiting:
        if not waiter.called:
            waiter.callback(True)
