"""Who may read a room, and up to where: members all of it, those who left up to then, others what anyone may read.

Specification: client-server API, "Room Previews" and the 403 answers of GET /rooms/{roomId}/messages, /state, /members.
"""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.state_trie import NodeId
from homeserver.core.tokens import BadToken, PageToken, SyncToken, parse_token
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.room import Room
from homeserver.web.errors import Forbidden, InvalidParam, NotFound

LEFT = ("leave", "ban")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a user may read of a room. `until`: position at which their stay ended; None: up to now."""

    room: Room
    membership: str | None
    until: int | None

    def ceiling(self, head: int) -> int:
        """The last position that may be shown, where the log stands at `head`."""
        return head if self.until is None else min(head, self.until)


class Readings:
    """Looks up what users may read."""

    def __init__(self, heads: Heads, memberships: Memberships) -> None:
        self._heads = heads
        self._memberships = memberships

    async def of(self, user_id: str, room_id: str) -> Reading:
        """What the user may read of a room. Forbidden for those who were never in it, if it is not open to anyone."""
        room = await self._heads.if_known(room_id)
        if room is None:
            # Whether this server knows a room is nobody's business who is not in it.
            raise Forbidden("You are not in this room.")
        return await self.of_room(user_id, room)

    async def of_room(self, user_id: str, room: Room) -> Reading:
        """The same for a room at hand."""
        membership = (await self._memberships.of_user(user_id)).membership(room.number)
        if membership == "join" or room.history_visibility == "world_readable":
            return Reading(room, membership, None)
        if membership in LEFT:
            ended_at = await self._memberships.stay_ended_at(user_id, room.number)
            if ended_at is not None:
                return Reading(room, membership, ended_at)
        raise Forbidden("You are not in this room.")

    async def known_to(self, user_id: str, room_id: str) -> Reading:
        """As `of`, where what may not be read is as good as absent: NotFound."""
        try:
            return await self.of(user_id, room_id)
        except Forbidden:
            raise NotFound("There is no such event, or you may not read it.") from None

    async def root(self, reading: Reading) -> NodeId:
        """Root of the state that the reader is shown: the current one, or that at the end of their stay."""
        if reading.until is None:
            return reading.room.committed_root
        return await self._heads.root_at(reading.room, reading.until)

    async def root_at(self, reading: Reading, token: SyncToken | PageToken) -> NodeId:
        """Root of the room's state at a place of its history, but not of after the reader's stay."""
        position = token.position if reading.until is None else min(token.position, reading.until)
        return await self._heads.root_at(reading.room, position)


def token_of(text: str | None) -> SyncToken | PageToken | None:
    """The token in a query parameter; InvalidParam if it is none of ours."""
    if text is None:
        return None
    try:
        return parse_token(text)
    except BadToken as bad:
        raise InvalidParam(str(bad)) from None
