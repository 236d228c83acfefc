"""States of rooms that lack events since the keys that sign these were not to be had when we joined: asks again.

A user must not be missing in a room for ever because one server was down for a minute. What is to be done is in the
table unfinished_states, so it goes on after a stop: at growing distances, at once when a server that it waits for is
heard from, for a day at most. What comes then is settled as in a room that was joined without its members.
Specification: server-server API, "Joining Rooms"; "Validating hashes and signatures on received events".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial as bound
from typing import Final

import structlog

from homeserver.core.ids import EventId
from homeserver.rooms.completion import Settlement
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.gaps import PeerFailed
from homeserver.rooms.heads import Heads
from homeserver.rooms.neighbours import Neighbours
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.settling import WholeState
from homeserver.rooms.whole_states import WholeStates
from homeserver.runtime.clock import Clock
from homeserver.runtime.pauses import Pauses
from homeserver.runtime.tasks import Tasks
from storage import partial_rooms
from storage.database import Database
from storage.partial_rooms import UnfinishedState

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 6 * 3600.0
KEPT_MS: Final = 24 * 3_600_000
"""What could not be had for so long, whatever restarts there were, is given up."""

log: Final = structlog.get_logger("homeserver.rooms.completion")


class UnfinishedStates:
    """Finishes them."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        events: EventCache,
        states: WholeStates,
        settlement: Settlement,
        neighbours: Neighbours,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._database = database
        self._heads = heads
        self._events = events
        self._states = states
        self._settlement = settlement
        self._neighbours = neighbours
        self._tasks = tasks
        self._clock = clock
        self._servers: dict[int, frozenset[str]] = {}
        """The rooms that are worked on, and whose keys are lacking there."""
        self._pauses: Pauses[int] = Pauses(clock)

    async def start(self) -> None:
        """Go on with what was to be done when the server was stopped."""
        for number in await self._database.read(partial_rooms.every_unfinished):
            self.begin(number, {})

    def begin(self, room: int, awaits: Mapping[EventId, str]) -> None:
        """Finish the state of a room, beside everything else. `awaits`: what it lacks, and of which servers."""
        is_new = room not in self._servers
        self._servers[room] = frozenset(awaits.values())
        if is_new:
            self._tasks.keep(f"finish the state of room {room}", bound(self._work, room))

    def is_back(self, server: str) -> None:
        """A server is heard from: what it signed may be told from now on."""
        for room, servers in tuple(self._servers.items()):
            if server in servers:
                self._pauses.end(room)

    async def _work(self, number: int) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._pauses.wait(number, pause_s)
            found = await self._database.read(partial_rooms.unfinished, number)
            room = await self._heads.by_number(number)
            # One that was joined anew without its members is completed first, and leads here again.
            if found is None or room is None or room.partial is not None:
                break
            if not room.local_joined or found.since_ts < self._clock.now_ms() - KEPT_MS:
                await self._database.write(partial_rooms.forget_unfinished, number)
                log.info("a state that lacks events is left as it is", room=room.room_id, lacking=found.lacking)
                break
            pause_s = FIRST_PAUSE_S if await self._try(room, found) else min(2 * pause_s, LONGEST_PAUSE_S)
        self._servers.pop(number, None)

    async def _try(self, room: Room, found: UnfinishedState) -> bool:
        """Ask for what is lacking; whether some of it came and counts."""
        rows = await self._events.by_positions([found.join_position])
        partial = Partial(rows[found.join_position])
        for server in await self._neighbours.of(room, [found.server_name]):
            try:
                whole = await self._states.before_join(room, partial, server)
            except PeerFailed as failed:
                log.info("what a state lacks did not come", room=room.room_id, reason=str(failed))
                continue
            self._servers[room.number] = frozenset(whole.awaits.values())
            return len(whole.awaits) < found.lacking and await self._settled(room, partial, whole)
        return False

    async def _settled(self, room: Room, partial: Partial, whole: WholeState) -> bool:
        """Have the room go on with this state; for so long it is one whose members are not all known."""
        if room.partial is not None:
            return False
        room.partial = partial
        try:
            return await self._settlement.settle(room, partial, whole)
        finally:
            if room.partial is partial:
                room.partial = None
