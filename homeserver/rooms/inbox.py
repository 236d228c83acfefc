"""Events of other servers that wait, room by room, for their past to be fetched.

They are in the database before the sending server is told that they have been taken; one worker a room deals with them
in order, so that a slow room holds up no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
from twisted.internet.defer import CancelledError

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.rooms.accept import Accepter
from homeserver.rooms.heads import Heads
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.writer import Writer
from storage import staging
from storage.database import Database
from storage.staging import StagedPdu

PIECE: Final = 50
MOST_WAITING: Final = 5_000
MOST_TRIES: Final = 3
PAUSE_S: Final = 5.0

log: Final = structlog.get_logger("homeserver.rooms.inbox")


class Inbox:
    """What waits in all rooms."""

    def __init__(
        self, database: Database, heads: Heads, accepter: Accepter, writer: Writer, tasks: Tasks, clock: Clock
    ) -> None:
        self._database = database
        self._heads = heads
        self._accepter = accepter
        self._writer = writer
        self._tasks = tasks
        self._clock = clock
        self._waiting: dict[str, int] = {}
        """Rooms with a worker, and about how many events wait there."""

    async def start(self) -> None:
        """Go on with what waited when the server was stopped."""
        for room_id, count in (await self._database.read(staging.counts_staged)).items():
            self._begin(room_id, count)

    def is_waiting(self, room_id: str) -> bool:
        """Whether events of the room wait: what comes after them waits too."""
        return room_id in self._waiting

    def has_space(self, room_id: str) -> bool:
        """Whether more events of the room may wait."""
        return self._waiting.get(room_id, 0) < MOST_WAITING

    async def put(self, origin: str, events: Sequence[Event]) -> None:
        """Keep events of one room. Returns when they are on disk."""
        room_id = events[0].room_id
        pdus = [StagedPdu(room_id, event.event_id, origin, event.json) for event in events]
        await self._writer.append([], [partial(staging.stage, pdus=pdus, now_ms=self._clock.now_ms())])
        self._begin(room_id, len(events))

    def _begin(self, room_id: str, count: int) -> None:
        is_new = room_id not in self._waiting
        self._waiting[room_id] = self._waiting.get(room_id, 0) + count
        if is_new:
            self._tasks.start("take events that waited", self._work(room_id))

    async def _work(self, room_id: str) -> None:
        """Deal with a room's events until none is left."""
        tries = 0
        try:
            while True:
                before = self._waiting[room_id]
                staged = await self._database.read(staging.staged_in, room_id, PIECE)
                if not staged and self._waiting[room_id] == before:
                    break
                piece = [pdu for pdu in staged if pdu.origin == staged[0].origin]
                try:
                    await self._take(room_id, piece)
                    tries = 0
                except CancelledError:
                    raise
                except Exception:  # the room must not stand still for ever
                    tries += 1
                    log.exception("events that waited could not be taken", room=room_id, tries=tries)
                    if tries < MOST_TRIES:
                        await self._clock.sleep(PAUSE_S)
                        continue
                    tries = 0
                await self._unstage(room_id, piece)
        finally:
            self._waiting.pop(room_id, None)

    async def _take(self, room_id: str, piece: Sequence[StagedPdu]) -> None:
        room = await self._heads.if_known(room_id)
        if room is None or not room.local_joined or not piece:
            return
        events = [Event.load(pdu.json, room.rules, EventId(pdu.event_id)) for pdu in piece]
        await self._accepter.accept(room_id, events, piece[0].origin)

    async def _unstage(self, room_id: str, piece: Sequence[StagedPdu]) -> None:
        ids = [pdu.event_id for pdu in piece]
        if ids:
            await self._writer.append([], [partial(staging.unstage, room_id=room_id, event_ids=ids)])
            self._waiting[room_id] = max(0, self._waiting[room_id] - len(ids))
