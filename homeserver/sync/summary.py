"""The `summary` of a room: how many are in it, and the heroes after whom clients name a room without a name.

Specification: client-server API, GET /sync, RoomSummary.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeserver.rooms.room import Room
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import memberships as membership_table
from storage.database import Database
from storage.rows import ChangesState, Entry, EventRow, StateRow

MOST_HEROES = 5
MOST_ROOMS = 20_000


class Summaries:
    """Summaries of rooms. A follower of the ring: a change of members makes a room's heroes be read anew."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._heroes: Lru[int, list[str]] = Lru(MOST_ROOMS)
        ring.subscribe(self._published, ChangesState)

    async def of(self, room: Room, reader: str) -> tuple[bytes, Sequence[str]]:
        """The encoded summary for a reader, and the heroes in it."""
        heroes: list[str] = []
        if not room.has_name:
            heroes = [user_id for user_id in await self._candidates(room.number) if user_id != reader][:MOST_HEROES]
        encoded = b'{"m.heroes":%s,"m.joined_member_count":%d,"m.invited_member_count":%d}' % (
            msgspec.json.encode(heroes),
            room.joined_members,
            room.invited_members,
        )
        return encoded, heroes

    async def _candidates(self, room: int) -> list[str]:
        """The first members who are joined or invited, and where there are none but one, those who have left."""
        known = self._heroes.get(room)
        if known is None:
            known = await self._database.read(membership_table.heroes, room, MOST_HEROES + 1)
            self._heroes.put(room, known)
        return known

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, StateRow) or (isinstance(entry, EventRow) and entry.event.type == "m.room.member"):
                self._heroes.discard(entry.room)
