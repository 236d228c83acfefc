"""Who is in rooms, and in which rooms users are, as they may read it.

Specification: client-server API, GET /rooms/{roomId}/members, /joined_members, GET /joined_rooms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.state_trie import NodeId
from homeserver.core.tokens import PageToken, SyncToken
from homeserver.rooms.heads import Heads
from homeserver.rooms.member_lists import MemberLists
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.reading import Reading, Readings
from homeserver.rooms.visible import Visible
from homeserver.rooms.wholeness import Wholeness
from homeserver.web.errors import Forbidden
from homeserver.web.response import StreamedResponse
from storage import rooms as room_table
from storage.database import Database

MUTUAL_AT_ONCE: Final = 500


class Members:
    """Answers who is where."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        memberships: Memberships,
        visible: Visible,
        readings: Readings,
        member_lists: MemberLists,
        wholeness: Wholeness,
    ) -> None:
        self._database = database
        self._heads = heads
        self._memberships = memberships
        self._visible = visible
        self._readings = readings
        self._member_lists = member_lists
        self._wholeness = wholeness

    async def listed(
        self,
        user_id: str,
        room_id: str,
        at: SyncToken | PageToken | None,
        membership: str | None,
        not_membership: str | None,
    ) -> bytes | StreamedResponse:
        """Member events of a room, at a place of its history if one is named."""
        reading = await self._readings.of(user_id, room_id)
        await self._wholeness.of(reading.room)
        root = await (self._readings.root(reading) if at is None else self._root_at(user_id, reading, at))
        members = await self._member_lists.of(reading.room.number, root)
        return members.answer(b'{"chunk":[', members.chosen(membership, not_membership), b"]}")

    async def joined(self, user_id: str, room_id: str) -> bytes | StreamedResponse:
        """Profiles of all who are in a room, for one who is in it too."""
        room = await self._heads.if_known(room_id)
        if room is None or user_id not in room.local_joined:
            raise Forbidden("You are not in this room.")
        await self._wholeness.of(room)
        members = await self._member_lists.of(room.number, room.committed_root)
        return members.answer(b'{"joined":{', members.joined, b"}}")

    async def rooms_of(self, user_id: str) -> list[str]:
        """Ids of the rooms that a user is in."""
        return await self._ids(sorted((await self._memberships.of_user(user_id)).joined))

    async def mutual(self, user_id: str, other: str, after: int) -> tuple[list[str], int, int | None]:
        """Rooms that both users are in, from after a number; how many in all, and where a next page starts."""
        own = (await self._memberships.of_user(user_id)).joined
        shared = sorted(own & (await self._memberships.of_user(other)).joined)
        page = [number for number in shared if number > after][:MUTUAL_AT_ONCE]
        goes_on = bool(page) and page[-1] != shared[-1]
        return await self._ids(page), len(shared), page[-1] if goes_on else None

    async def _root_at(self, user_id: str, reading: Reading, at: SyncToken | PageToken) -> NodeId:
        """Root of the state at a place of the history; of a time before they were let in, members get their first."""
        room = reading.room
        root = await self._readings.root_at(reading, at)
        if await self._visible.state_at(user_id, room.number, root, at.position):
            return root
        joined_at = await self._memberships.joined_at(user_id, room.number)
        if not joined_at:
            raise Forbidden("You may not see who was in this room at that time.")
        return await self._heads.root_at(room, joined_at)

    async def _ids(self, numbers: Sequence[int]) -> list[str]:
        if not numbers:
            return []
        found = await self._database.read(room_table.ids_of, numbers)
        return [found[number] for number in numbers if number in found]
