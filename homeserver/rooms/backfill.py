"""History that we do not have: fetched from servers in the room when somebody reads that far back, or of that time.

Specification: server-server API, "Backfilling and retrieving missing events", GET /timestamp_to_event/{roomId};
client-server API, GET /rooms/{roomId}/messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import structlog

from homeserver.core.event import Event
from homeserver.core.ids import EventId, ServerName
from homeserver.rooms.accept import Accepter
from homeserver.rooms.gaps import Filling, PeerFailed
from homeserver.rooms.incoming import RoomOfEvents
from homeserver.rooms.neighbours import Neighbours
from homeserver.rooms.room import Room
from homeserver.rooms.wholeness import Wholeness
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.runtime.time_limit import TookTooLong, within
from homeserver.runtime.turns import Turns
from storage import events as event_table
from storage import received
from storage.database import Database
from storage.rows import Status

EVENTS_AT_ONCE: Final = 100
MOST_STARTS: Final = 5
NEAR_PATIENCE_S: Final = 25.0
PAUSE_S: Final = 60.0
"""Where nobody could tell more about an end of the history, it is left alone for so long."""
MOST_TIRED: Final = 10_000
PATIENCE_S: Final = 10.0
"""So long a reader waits for the members of a room that was just joined, before it is told what there is."""

log: Final = structlog.get_logger("homeserver.rooms.backfill")


Direction = Literal["f", "b"]
"""Forwards or backwards in time."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An event at a time or after it (or before it), closer than the one that we have."""

    ts: int
    direction: Direction
    known_ts: int | None

    def is_met_by(self, at: int) -> bool:
        """Whether an event of this time would do."""
        if at < self.ts if self.direction == "f" else at > self.ts:
            return False
        return self.known_ts is None or abs(at - self.ts) < abs(self.known_ts - self.ts)


class OlderHistory(Protocol):
    """Where more history may come from."""

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Try to get what comes before events at these depths; whether there is more now."""
        ...

    async def gap(self, room: Room, low: int, high: int) -> int | None:
        """Depth of the first event between these depths before which history is lacking; None if there is none.

        Also where nobody could tell more of it of late.
        """
        ...

    async def near(self, room: Room, ts: int, direction: Direction, known_ts: int | None) -> bool:
        """Try to get an event that is closer to a time than what we have there; whether one came."""
        ...


class PeersWithTimes(Protocol):
    """Other servers that know when events were. What comes from there is of the room and signed. Raises PeerFailed."""

    async def timestamp_to_event(
        self, server: str, room: RoomOfEvents, ts: int, direction: str
    ) -> tuple[EventId, int] | None:
        """The event that the server has closest to a time, and its time; None if it has none."""
        ...

    async def events(self, server: str, room: RoomOfEvents, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that the server has."""
        ...


class NoOlderHistory:
    """All there is, is here."""

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Nothing."""
        return False

    async def gap(self, room: Room, low: int, high: int) -> int | None:
        """None."""
        return None

    async def near(self, room: Room, ts: int, direction: Direction, known_ts: int | None) -> bool:
        """Nothing."""
        return False


class Backfill:
    """Fetches older history."""

    def __init__(
        self,
        database: Database,
        accepter: Accepter,
        peers: PeersWithTimes,
        wholeness: Wholeness,
        neighbours: Neighbours,
        server_name: ServerName,
        clock: Clock,
    ) -> None:
        self._database = database
        self._accepter = accepter
        self._peers = peers
        self._wholeness = wholeness
        self._neighbours = neighbours
        self._server_name = server_name
        self._clock = clock
        self._turns: Turns[int] = Turns()
        self._tired: Lru[tuple[int, str], float] = Lru(MOST_TIRED)

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Try to get what comes before events at these depths; whether there is more now."""
        if room.is_ours_alone(self._server_name) or not room.local_joined:
            return False
        # The state at what is older has the same members, which need not be fetched twice.
        if not await self._wholeness.within(room, PATIENCE_S):
            return False
        async with self._turns.at(room.number):
            now_s = self._clock.monotonic_s()
            found = await self._database.read(received.ends_between, room.number, low, high, MOST_STARTS)
            ends = [each for each in found if (self._tired.get((room.number, each)) or 0.0) <= now_s]
            if not ends:
                return False
            for server in await self._neighbours.of(room):
                if await self._fetch_from(server, room, ends):
                    return True
            for event_id in ends:
                self._tired.put((room.number, event_id), now_s + PAUSE_S)
            return False

    async def gap(self, room: Room, low: int, high: int) -> int | None:
        """Depth of the first event between these depths before which history is lacking; None if there is none."""
        if room.is_ours_alone(self._server_name) or not room.local_joined:
            return None
        now_s = self._clock.monotonic_s()
        for event_id, depth in await self._database.read(received.first_ends, room.number, low, high, MOST_STARTS):
            if (self._tired.get((room.number, event_id)) or 0.0) <= now_s:
                return depth
        return None

    async def near(self, room: Room, ts: int, direction: Direction, known_ts: int | None) -> bool:
        """Try to get an event that is closer to a time than what we have there; whether one came."""
        if room.is_ours_alone(self._server_name) or not room.local_joined:
            return False
        wanted = _Wanted(ts, direction, known_ts)
        async with self._turns.at(room.number):
            until_s = self._clock.monotonic_s() + NEAR_PATIENCE_S
            for server in await self._neighbours.of(room):
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0:
                    break
                try:
                    found = await within(self._clock, left_s, self._near_at(server, room, wanted))
                except (PeerFailed, TookTooLong) as failed:
                    log.info("no event of a time came", room=room.room_id, server=server, reason=str(failed))
                    continue
                if found is not None and await self._keep(server, room, *found):
                    return True
        return False

    async def _near_at(self, server: str, room: Room, wanted: _Wanted) -> tuple[EventId, Filling] | None:
        """The event of a server, and what it takes to place it. What the server says of its time must be true."""
        asked = RoomOfEvents(room.room_id, room.rules)
        found = await self._peers.timestamp_to_event(server, asked, wanted.ts, wanted.direction)
        if found is None or not wanted.is_met_by(found[1]):
            return None
        event_id, at = found
        events = await self._peers.events(server, asked, [event_id])
        if not events or events[0].origin_server_ts != at:
            raise PeerFailed(f"{server} names an event for this time that it does not have, or that is of another time")
        return event_id, await self._accepter.history(room, server, [event_id], EVENTS_AT_ONCE)

    async def _keep(self, server: str, room: Room, event_id: EventId, filling: Filling) -> bool:
        """Take an event with what comes before it; whether it is one that can be shown."""
        count = await self._accepter.accept_history(room.room_id, filling, server)
        log.info("history of a time came", room=room.room_id, server=server, events=count)
        rows = await self._database.read(event_table.by_ids, [event_id])
        return any(row.state_root is not None and row.status is Status.ACCEPTED for row in rows)

    async def _fetch_from(self, server: str, room: Room, ends: list[str]) -> bool:
        try:
            filling = await self._accepter.history(room, server, ends, EVENTS_AT_ONCE)
        except PeerFailed as failed:
            log.info("no older history came", room=room.room_id, server=server, reason=str(failed))
            return False
        count = await self._accepter.accept_history(room.room_id, filling, server)
        log.info("older history came", room=room.room_id, server=server, events=count)
        return count > 0
