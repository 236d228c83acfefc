"""Single events. Specification: client-server API, GET /rooms/{roomId}/event/{eventId} and /timestamp_to_event."""

from __future__ import annotations

from typing import Final

from homeserver.rooms.backfill import Direction, OlderHistory
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.history import Showing
from homeserver.rooms.reading import Reading, Readings
from homeserver.runtime.log import Ring
from homeserver.web.errors import NotFound
from storage import history as history_table
from storage import received
from storage.database import Cursor, Database
from storage.rows import EventRow

NEARBY: Final = 100
"""Events looked at where the timestamps come near: clocks differ, so their order is not that of the history."""


class EventReads:
    """Finds single events that a user may see."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        readings: Readings,
        events: EventCache,
        showing: Showing,
        older: OlderHistory,
    ) -> None:
        self._database = database
        self._ring = ring
        self._readings = readings
        self._events = events
        self._showing = showing
        self._older = older

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

    async def near(self, user_id: str, room_id: str, ts: int, direction: Direction) -> tuple[str, int]:
        """Id and timestamp of the event closest to a time: at it or later (f), or at it or earlier (b).

        Where our history has a gap there, other servers are asked, and what they have is fetched.
        """
        reading = await self._readings.of(user_id, room_id)
        found, is_gap = await self._nearest(user_id, reading, ts, direction)
        if is_gap and await self._older.near(reading.room, ts, direction, None if found is None else found[1]):
            found, _ = await self._nearest(user_id, reading, ts, direction)
        if found is None:
            raise NotFound("There is no event in this direction that you may read.")
        return found

    async def _nearest(
        self, user_id: str, reading: Reading, ts: int, direction: Direction
    ) -> tuple[tuple[str, int] | None, bool]:
        """The closest event that is here, and whether one that is not here may be closer."""
        room = reading.room.number
        candidates, is_gap = await self._database.read(_near_and_gap, room, ts, reading.ceiling(self._ring.head))
        rows = await self._events.by_positions([position for _, position, _ in candidates])
        visible, _ = await self._showing.visible.of(user_id, room, list(rows.values()))
        forwards = direction == "f"
        fitting = [
            (abs(row.event.origin_server_ts - ts), row.event.depth if forwards else -row.event.depth, row)
            for row in visible
            if (row.event.origin_server_ts >= ts if forwards else row.event.origin_server_ts <= ts)
        ]
        if not fitting:
            return None, is_gap
        best = min(fitting, key=lambda each: each[:2])[2].event
        return (best.event_id, best.origin_server_ts), is_gap


def near(tx: Cursor, room: int, ts: int, ceiling: int) -> list[tuple[int, int, int]]:
    """Depth, position and timestamp of events around a time: by halving the depths of the room, then looking around."""
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
    return history_table.near_depth(tx, room, first, ceiling, 2 * NEARBY)


def _near_and_gap(tx: Cursor, room: int, ts: int, ceiling: int) -> tuple[list[tuple[int, int, int]], bool]:
    """The same, and whether our history has a gap at that time: between the last event before it and the first after.

    The specification leaves to us when other servers are asked, and suggests this.
    """
    found = near(tx, room, ts, ceiling)
    before = max((each for each in found if each[2] <= ts), key=lambda each: (each[2], each[0]), default=None)
    after = min((each for each in found if each[2] >= ts), key=lambda each: (each[2], each[0]), default=None)
    if not found or (before is not None and before[2] == ts):
        return found, False
    low = 0 if before is None else before[0] + 1
    high = history_table.LAST[0] if after is None else after[0]
    return found, bool(received.ends_between(tx, room, low, high, 1))
