"""The read receipts of rooms, remembered for those who start with many rooms at once.

A follower of the ring: a new receipt takes the place of the one before it, so what is remembered is always current.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import receipts as receipt_table
from storage.database import Database
from storage.rows import Entry, ReceiptRow

MOST_RECEIPTS = 200_000
"""Receipts remembered in all."""
MOST_IN_A_ROOM = 2_000
"""Rooms with more are read each time, and of them only what falls into the timeline."""

_Key = tuple[str, str, str]


class RoomReceipts:
    """Receipts by room."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._ring = ring
        self._rooms: Lru[int, dict[_Key, ReceiptRow]] = Lru(MOST_RECEIPTS, _weight)
        self._large: Lru[int, bool] = Lru(1_000)
        ring.subscribe(self._published, ReceiptRow)

    async def since(self, room: int, event_position: int, user_id: str) -> list[ReceiptRow]:
        """The receipts for events from this position on, and all of the user's own."""
        known = self._rooms.get(room)
        if known is None:
            if room in self._large:
                return await self._database.read(receipt_table.in_room_at_or_after, room, event_position, user_id)
            known = await self._load(room)
        return [row for row in known.values() if row.event_position >= event_position or row.user_id == user_id]

    async def _load(self, room: int) -> dict[_Key, ReceiptRow]:
        read_from = self._ring.head
        rows = await self._database.read(receipt_table.in_room_at_or_after, room, 0, "")
        known = {_key(row): row for row in rows}
        # What was published while we read is newer than what we read.
        for entry in self._ring.room_after(room, read_from):
            if isinstance(entry, ReceiptRow):
                known[_key(entry)] = entry
        if len(known) <= MOST_IN_A_ROOM:
            self._rooms.put(room, known)
        else:
            self._large.put(room, True)
        return known

    def _published(self, entries: Sequence[Entry]) -> None:
        for row in _receipts(entries):
            known = self._rooms.discard(row.room)
            if known is not None:
                known[_key(row)] = row
                # Put back with its new weight.
                self._rooms.put(row.room, known)


def _receipts(entries: Iterable[Entry]) -> Iterable[ReceiptRow]:
    return (entry for entry in entries if isinstance(entry, ReceiptRow))


def _key(row: ReceiptRow) -> _Key:
    return row.user_id, row.type, row.thread


def _weight(_room: int, known: dict[_Key, ReceiptRow]) -> int:
    return 1 + len(known)
