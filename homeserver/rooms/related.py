"""Lists of what relates to an event, and of the threads of a room.

Specification: client-server API, GET /rooms/{roomId}/relations/{eventId}, GET /rooms/{roomId}/threads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.tokens import PageToken
from homeserver.rooms.client_events import json_array
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.event_reads import EventReads
from homeserver.rooms.history import Showing
from homeserver.rooms.pages import Token, place_of
from homeserver.rooms.reading import Readings
from homeserver.runtime.log import Ring
from homeserver.web.errors import InvalidParam
from storage import relations as relation_table
from storage.database import Cursor, Database
from storage.history import FIRST, LAST
from storage.rows import EventRow

MOST_EVENTS: Final = 100
MOST_PARENTS: Final = 1_000
DEEPEST: Final = 3
"""How many steps of relations are followed, as the specification suggests."""
_THREAD_TOKEN: Final = re.compile(r"p([1-9][0-9]{0,17})")

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class RelatedAsk:
    """Which children of an event are asked for."""

    event_id: str
    rel_type: str | None = None
    event_type: str | None = None
    start: Token | None = None
    stop: Token | None = None
    limit: int = 10
    backwards: bool = True
    recurse: bool = False


class Related:
    """Lists children and threads."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        readings: Readings,
        event_reads: EventReads,
        events: EventCache,
        showing: Showing,
    ) -> None:
        self._database = database
        self._ring = ring
        self._readings = readings
        self._event_reads = event_reads
        self._events = events
        self._showing = showing

    async def children(self, user_id: str, device: int, room_id: str, ask: RelatedAsk) -> bytes:
        """A page of what relates to an event."""
        parent = await self._event_reads.row(user_id, room_id, ask.event_id)
        reading = await self._readings.known_to(user_id, room_id)
        ceiling = reading.ceiling(self._ring.head)
        limit = min(ask.limit, MOST_EVENTS)
        positions = await self._database.read(_children, parent.room, ask, ceiling, limit + 1)
        rows = await self._ordered(positions[:limit])
        visible, memberships = await self._showing.visible.of(user_id, parent.room, rows)
        ignored = await self._showing.ignored.ignored(user_id)
        visible = [row for row in visible if row.event.sender not in ignored]
        chunk = await self._showing.render(user_id, device, parent.room, visible, memberships)
        parts = [b'"chunk":' + json_array(chunk)]
        if len(positions) > limit and rows:
            last = rows[-1]
            place = PageToken(last.event.depth, last.position - 1 if ask.backwards else last.position)
            parts.append(b'"next_batch":' + _encode(str(place)))
        if ask.start is not None:
            parts.append(b'"prev_batch":' + _encode(str(ask.start)))
        if ask.recurse:
            parts.append(b'"recursion_depth":%d' % DEEPEST)
        return b"{" + b",".join(parts) + b"}"

    async def threads(
        self, user_id: str, device: int, room_id: str, *, participated: bool, limit: int, start: str | None
    ) -> bytes:
        """The roots of a room's threads, the one with the newest event first."""
        before = self._before(start)
        reading = await self._readings.of(user_id, room_id)
        room = reading.room.number
        before = min(before, reading.ceiling(self._ring.head) + 1)
        limit = min(limit, MOST_EVENTS)
        found = await self._database.read(
            relation_table.threads, room, before, limit + 1, user_id if participated else None
        )
        by_id = await self._events.by_ids([root for root, _ in found[:limit]])
        roots = [by_id[root] for root, _ in found[:limit] if root in by_id and by_id[root].room == room]
        visible, memberships = await self._showing.visible.of(user_id, room, roots)
        chunk = await self._showing.render(user_id, device, room, visible, memberships)
        if len(found) > limit and limit:
            return b'{"chunk":%s,"next_batch":"p%d"}' % (json_array(chunk), found[limit - 1][1])
        return b'{"chunk":' + json_array(chunk) + b"}"

    @staticmethod
    def _before(start: str | None) -> int:
        if start is None:
            return 2**63 - 1
        found = _THREAD_TOKEN.fullmatch(start)
        if found is None:
            raise InvalidParam("from must be a next_batch of this list.")
        return int(found[1])

    async def _ordered(self, positions: list[int]) -> list[EventRow]:
        found = await self._events.by_positions(positions)
        return [found[position] for position in positions if position in found]


def _children(tx: Cursor, room: int, ask: RelatedAsk, ceiling: int, limit: int) -> list[int]:
    """Positions of the children asked for; of their children too, down to DEEPEST steps, if wanted."""
    targets = [ask.event_id]
    if ask.recurse:
        newest = targets
        for _ in range(DEEPEST - 1):
            known = set(targets)
            newest = [each for each in relation_table.ids_of_children(tx, newest, MOST_PARENTS) if each not in known]
            if not newest:
                break
            targets += newest
    start = None if ask.start is None else place_of(tx, room, ask.start)
    stop = None if ask.stop is None else place_of(tx, room, ask.stop)
    if ask.backwards:
        low, high = stop or FIRST, start or LAST
    else:
        low, high = start or FIRST, stop or LAST
    asked = relation_table.Related(room, targets, ask.rel_type, ask.event_type, low, high, ceiling)
    return relation_table.page(tx, asked, limit, backwards=ask.backwards)
