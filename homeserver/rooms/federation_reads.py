"""What other servers may read of our rooms: events, states, auth chains, what lies between and before events.

Specification: server-server API, "Retrieving events", "Backfilling and retrieving missing events", "Retrieving event
authorisation information". Only servers that are in the room are answered, and not those that its ACL shuts out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.ids import EventId
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.event_pieces import EventPieces
from homeserver.rooms.event_reads import near
from homeserver.rooms.heads import Heads
from homeserver.rooms.room import Room
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.server_sight import ServerSight
from homeserver.rooms.state import StateStore
from homeserver.rooms.wholeness import Wholeness
from homeserver.web.errors import Forbidden, NotFound
from storage import auth_edges, sending
from storage import history as history_table
from storage.database import Cursor, Database
from storage.rows import EventRow, Status

MOST_BACKFILLED: Final = 100
MOST_MISSING: Final = 50
MOST_STARTS: Final = 20
EVERYTHING: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StatePositions:
    """Positions of the events of a state, and of all that stands behind them."""

    state: list[int]
    auth_chain: list[int]


class FederationReads:
    """Answers other servers."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        state: StateStore,
        events: EventCache,
        acls: ServerAcls,
        sight: ServerSight,
        wholeness: Wholeness,
    ) -> None:
        self._database = database
        self._heads = heads
        self._state = state
        self._events = events
        self._acls = acls
        self._sight = sight
        self._wholeness = wholeness
        self.pieces = EventPieces(database)

    async def room_for(self, server: str, room_id: str) -> Room:
        """A room that the server may read. Forbidden if it is not in it, or shut out; NotFound if we are not."""
        room = await self._heads.if_known(room_id)
        if room is None or not room.local_joined:
            raise NotFound(f"This server is not in the room {room_id}.")
        await self._acls.check(room, server)
        if not await self._database.read(sending.is_in_room, room.number, server):
            raise Forbidden("Your server is not in this room.")
        return room

    async def event(self, server: str, event_id: EventId) -> EventRow:
        """One event. NotFound if the server may not see it."""
        row = await self._events.by_id(event_id)
        if row is None or row.status is Status.REJECTED:
            raise NotFound(f"There is no event {event_id} here that your server may read.")
        room = await self._heads.by_number(row.room)
        if room is None:
            raise NotFound(f"There is no event {event_id} here that your server may read.")
        await self.room_for(server, room.room_id)
        if row.position not in await self._sight.seen(server, row.room, [row]):
            raise NotFound(f"There is no event {event_id} here that your server may read.")
        return row

    async def state_at(self, server: str, room_id: str, event_id: EventId) -> StatePositions:
        """The state before an event, and its auth chain. NotFound if we do not know it."""
        room = await self.room_for(server, room_id)
        row = await self._row_of(room, event_id)
        await self._wholeness.for_servers(room)
        if row.state_root is None:
            raise NotFound(f"The state at {event_id} is not known here.")
        state = sorted((position for _, position in await self._state.items(row.room, row.state_root)), key=abs)
        return StatePositions(state, await self._database.read(auth_edges.chain_of, state))

    async def auth_of(self, server: str, room_id: str, event_id: EventId) -> list[int]:
        """The auth events of an event, those of the auth events, and so on."""
        row = await self._row_of(await self.room_for(server, room_id), event_id)
        named = [each.position for each in (await self._events.by_ids(row.event.auth_events)).values()]
        return list(dict.fromkeys((*await self._database.read(auth_edges.chain_of, named), *named)))

    async def backfill(self, server: str, room_id: str, start: Sequence[EventId], limit: int) -> list[bytes]:
        """Events and what came before them, the newest first, as the server may see them."""
        room = await self.room_for(server, room_id)
        found = await self._walk(room, start[:MOST_STARTS], frozenset(), max(0, min(limit, MOST_BACKFILLED)), 0)
        found.sort(key=lambda row: (row.event.depth, row.position), reverse=True)
        return await self._sight.shown(server, room.number, found)

    async def missing(
        self,
        server: str,
        room_id: str,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int,
    ) -> list[bytes]:
        """What lies between events, the oldest first, as the server may see it."""
        room = await self.room_for(server, room_id)
        heads = await self._events.by_ids(latest[:MOST_STARTS])
        start = [each for row in heads.values() if row.room == room.number for each in row.event.prev_events]
        skipped = frozenset((*earliest, *latest))
        found = await self._walk(room, start, skipped, max(0, min(limit, MOST_MISSING)), min_depth)
        found.sort(key=lambda row: (row.event.depth, row.position))
        return await self._sight.shown(server, room.number, found)

    async def near(self, server: str, room_id: str, ts: int, *, forwards: bool) -> tuple[EventId, int]:
        """Id and timestamp of the event closest to a time."""
        room = await self.room_for(server, room_id)
        candidates = await self._database.read(near, room.number, ts, EVERYTHING)
        found = await self._events.by_positions([position for _, position, _ in candidates])
        seen = await self._sight.seen(server, room.number, list(found.values()))
        fitting = [
            row
            for row in found.values()
            if row.position in seen
            and (row.event.origin_server_ts >= ts if forwards else row.event.origin_server_ts <= ts)
        ]
        if not fitting:
            raise NotFound(f"There is no event {'from' if forwards else 'up to'} {ts} in this room.")
        best = min(fitting, key=lambda row: (abs(row.event.origin_server_ts - ts), row.event.depth))
        return best.event.event_id, best.event.origin_server_ts

    async def _row_of(self, room: Room, event_id: EventId) -> EventRow:
        row = await self._events.by_id(event_id)
        if row is None or row.room != room.number:
            raise NotFound(f"The event {event_id} is not in this room, or not known here.")
        return row

    async def _walk(
        self, room: Room, start: Iterable[EventId], skipped: frozenset[EventId], limit: int, min_depth: int
    ) -> list[EventRow]:
        """Breadth first from events down to those that they follow."""
        found: dict[EventId, EventRow] = {}
        waiting = [event_id for event_id in dict.fromkeys(start) if event_id not in skipped]
        if waiting and limit:
            await self._prefetch(room, waiting, limit)
        while waiting and len(found) < limit:
            rows = await self._events.by_ids(waiting)
            following: dict[EventId, None] = {}
            for event_id in waiting:
                row = rows.get(event_id)
                if row is None or row.room != room.number or row.state_root is None or row.event.depth < min_depth:
                    continue
                if row.status is not Status.REJECTED and len(found) < limit:
                    found[event_id] = row
                following.update(dict.fromkeys(row.event.prev_events))
            waiting = [event_id for event_id in following if event_id not in found and event_id not in skipped]
        return list(found.values())

    async def _prefetch(self, room: Room, start: Sequence[EventId], limit: int) -> None:
        """Have in memory what the walk will most likely meet, so that it need not ask for each step."""
        rows = await self._events.by_ids(start)
        depth = max((row.event.depth for row in rows.values()), default=0)
        positions = await self._database.read(_before_depth, room.number, depth, limit)
        await self._events.by_positions(positions)


def _before_depth(tx: Cursor, room: int, depth: int, limit: int) -> list[int]:
    stretch = history_table.Stretch(room, history_table.FIRST, (depth, EVERYTHING), -EVERYTHING, EVERYTHING)
    return [position for position, _ in history_table.page(tx, stretch, limit, backwards=True)]


def pdus_of(rows: Iterable[EventRow]) -> list[msgspec.Raw]:
    """Events as they go into an answer."""
    return [msgspec.Raw(row.event.json) for row in rows]
