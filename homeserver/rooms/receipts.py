"""Read receipts and the read marker.

Specification: client-server API, "Receipts" (POST /rooms/{roomId}/receipt/{receiptType}/{eventId}) and
"Fully read markers" (POST /rooms/{roomId}/read_markers).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from homeserver.core.ids import EventId
from homeserver.core.receipts import FULLY_READ, BadReceipt, check_belongs
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.room import Room
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Writer
from homeserver.web.errors import Forbidden, InvalidParam, NotFound
from storage import receipts as receipt_table
from storage.database import Database
from storage.rows import AccountDataRow, Entry, EventRow, ReceiptRow


class Receipts:
    """Takes receipts from local users."""

    def __init__(self, database: Database, writer: Writer, heads: Heads, events: EventCache, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._events = events
        self._clock = clock

    async def mark(self, user_id: str, room_id: str, marks: Mapping[str, str], *, thread_id: str | None = None) -> None:
        """Set receipts, given as type → event id; m.fully_read sets the marker. Steps back are ignored."""
        room = await self._heads.get(room_id)
        if user_id not in room.local_joined:
            raise Forbidden("You are not in this room, so you cannot mark anything in it as read.")
        known = {each.type + each.thread: each for each in await self._own(room, user_id)}
        entries: list[Entry] = []
        for type_, event_id in marks.items():
            if type_ == FULLY_READ:
                entries.append(
                    AccountDataRow(user_id, room_id, FULLY_READ, msgspec.json.encode({"event_id": event_id}))
                )
                continue
            row = await self._event(room, event_id)
            self._check_thread(row, thread_id)
            before = known.get(type_ + (thread_id or ""))
            if before is None or before.event_position < row.position:
                entries.append(
                    ReceiptRow(
                        room.number, user_id, type_, thread_id or "", event_id, row.position, self._clock.now_ms()
                    )
                )
        if entries:
            await self._writer.append(entries)

    async def _own(self, room: Room, user_id: str) -> list[ReceiptRow]:
        return await self._database.read(receipt_table.of_user_in_room, room.number, user_id)

    async def _event(self, room: Room, event_id: str) -> EventRow:
        row = await self._events.by_id(event_id)
        if row is None or row.room != room.number:
            raise NotFound("This event is not in the room, or not known here.")
        return row

    @staticmethod
    def _check_thread(row: EventRow, thread_id: str | None) -> None:
        if thread_id is None:
            return
        try:
            check_belongs(thread_id, row.event.event_id, None if row.thread is None else EventId(row.thread))
        except BadReceipt as bad:
            raise InvalidParam(str(bad)) from None
