"""Single events. Specification: client-server API, GET /rooms/{roomId}/event/{eventId} and /timestamp_to_event."""

from __future__ import annotations

from typing import Final, Literal

from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.history import Showing
from homeserver.rooms.reading import Readings
from homeserver.runtime.log import Ring
from homeserver.web.errors import NotFound
from storage import history as history_table
from storage.database import Cursor, Database
from storage.rows import EventRow

NEARBY: Final = 100
"""Events looked at where the timestamps come near: clocks differ, so their order is not that of the history."""


class EventReads:
    """Finds single events that a user may see."""

    def __init__(
        self, database: Database, ring: Ring, readings: Readings, events: EventCache, showing: Showing
    ) -> None:
        self._database = database
        self._ring = ring
        self._readings = readings
        self._events = events
        self._showing = showing

    async def one(self, user_id: str, device: int, room_id: str, event_id: str) -> bytes:
        """An event in client format; NotFound where there is none that the user may see."""
        row = await self.row(user_id, room_id, event_id)
        _seen, memberships = await self._showing.visible.of(user_id, row.room, (row,))
        return (await self._showing.render(user_id, device, row.room, (row,), memberships))[0]

    async def row(self, user_id: str, room_id: str, event_id: str) -> EventRow:
        """An event of a room that the user may see; NotFound otherwise."""
        reading = await self._readings.known_to(user_id, room_id)
        row = await self._events.by_id(event_id)
        if row is None or row.room != reading.room.number or not await self._showing.visible.one(user_id, row):
            raise NotFound("There is no such event, or you may not read it.")
        return row

    async def near(self, user_id: str, room_id: str, ts: int, direction: Literal["f", "b"]) -> tuple[str, int]:
        """Id and timestamp of the event closest to a time: at it or later (f), or at it or earlier (b)."""
        reading = await self._readings.of(user_id, room_id)
        room = reading.room.number
        candidates = await self._database.read(near, room, ts, reading.ceiling(self._ring.head))
        rows = await self._events.by_positions([position for position, _ in candidates])
        visible, _ = await self._showing.visible.of(user_id, room, list(rows.values()))
        forwards = direction == "f"
        fitting = [
            (abs(row.event.origin_server_ts - ts), row.event.depth if forwards else -row.event.depth, row)
            for row in visible
            if (row.event.origin_server_ts >= ts if forwards else row.event.origin_server_ts <= ts)
        ]
        if not fitting:
            raise NotFound("There is no event in this direction that you may read.")
        best = min(fitting, key=lambda each: each[:2])[2]
        return best.event.event_id, best.event.origin_server_ts


def near(tx: Cursor, room: int, ts: int, ceiling: int) -> list[tuple[int, int]]:
    """Position and timestamp of events around a time: by halving the depths of the room, then looking around."""
    ends = history_table.depths(tx, room, ceiling)
    if ends is None:
        return []
    low, high = ends
    while low < high:
        middle = (low + high) // 2
        found = history_table.near_depth(tx, room, middle, ceiling, 1)
        if not found or found[0][2] >= ts:
            high = middle
        else:
            low = middle + 1
    first = max(ends[0], low - NEARBY)
    near = history_table.near_depth(tx, room, first, ceiling, 2 * NEARBY)
    return [(position, at) for _, position, at in near]
