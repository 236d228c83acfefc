"""Events of other servers that wait, room by room, for their past to be fetched.

They are in the database before the sending server is told that they have been taken; one worker a room deals with them
in order, so that a slow room holds up no other. Those whose past cannot be had now are tried again later (`put_off`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from twisted.internet.defer import CancelledError

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.rooms.accept import Accepter
from homeserver.rooms.heads import Heads
from homeserver.rooms.outcomes import Fate
from homeserver.rooms.put_off import PutOff
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
LOOK_EVERY_S: Final = 1.0

log: Final = structlog.get_logger("homeserver.rooms.inbox")


class Inbox:
    """What waits in all rooms."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        accepter: Accepter,
        writer: Writer,
        tasks: Tasks,
        clock: Clock,
        put_off: PutOff,
    ) -> None:
        self._database = database
        self._heads = heads
        self._accepter = accepter
        self._writer = writer
        self._tasks = tasks
        self._clock = clock
        self._put_off = put_off
        self._waiting: dict[str, int] = {}
        """Rooms with a worker, and about how many events wait there."""

    async def start(self) -> None:
        """Go on with what waited when the server was stopped."""
        for room_id, count in (await self._database.read(staging.counts_staged)).items():
            self._begin(room_id, count)
        self._tasks.every("try events again that were put off", LOOK_EVERY_S, self._look)

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
                not_due = self._put_off.not_due(room_id)
                staged = await self._database.read(staging.staged_in, room_id, not_due, PIECE)
                if not staged and self._waiting[room_id] == before:
                    break
                piece = [pdu for pdu in staged if pdu.origin == staged[0].origin]
                done = {pdu.event_id for pdu in piece}
                try:
                    done -= await self._take(room_id, piece)
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
                await self._unstage(room_id, sorted(done))
                self._waiting[room_id] = max(0, self._waiting[room_id] - len(piece))
        finally:
            self._waiting.pop(room_id, None)

    async def _take(self, room_id: str, piece: Sequence[StagedPdu]) -> set[str]:
        """Have events judged; those that go on waiting."""
        room = await self._heads.if_known(room_id)
        if room is None or not room.local_joined or not piece:
            return set()
        events = [Event.load(pdu.json, room.rules, EventId(pdu.event_id)) for pdu in piece]
        origin = piece[0].origin
        outcomes = await self._accepter.accept(room_id, events, origin)
        undecided = {event_id: each for event_id, each in outcomes.items() if each.fate is Fate.UNDECIDED}
        waiting = {event_id for event_id in undecided if self._put_off.put_off(room_id, event_id, origin)}
        given_up = [
            (event_id, replace(outcome, fate=Fate.DROPPED))
            for event_id, outcome in undecided.items()
            if event_id not in waiting
        ]
        if given_up:
            await self._accepter.refuse(room_id, origin, given_up)
        for event_id in waiting:
            log.info(
                "an event waits", event_id=event_id, room=room_id, origin=origin, reason=undecided[event_id].reason
            )
        return {*waiting}

    async def _unstage(self, room_id: str, event_ids: Sequence[str]) -> None:
        if event_ids:
            await self._writer.append([], [partial(staging.unstage, room_id=room_id, event_ids=event_ids)])
            self._put_off.forget(room_id, event_ids)

    async def _look(self) -> None:
        for room_id in self._put_off.due_rooms():
            self._begin(room_id, 0)
