"""Ways into rooms by id or by alias: joining and knocking.

Specification: client-server API, POST /join/{roomIdOrAlias} and POST /knock/{roomIdOrAlias}.
"""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.rooms.directory import Directory, join_servers
from homeserver.rooms.membership import MembershipChanges


class Entering:
    """Finds the room, then has the user join it or knock on it."""

    def __init__(self, directory: Directory, changes: MembershipChanges) -> None:
        self._directory = directory
        self._changes = changes

    async def join(
        self,
        user_id: UserId,
        room_id_or_alias: str,
        *,
        via: Sequence[str] = (),
        reason: str | None = None,
        third_party_signed: JsonObject | None = None,
        is_guest: bool = False,
    ) -> RoomId:
        """Join a room; its id."""
        room_id, servers = await self._directory.room_of(room_id_or_alias)
        await self._changes.join(
            user_id,
            room_id,
            via=join_servers(via, servers),
            reason=reason,
            third_party_signed=third_party_signed,
            is_guest=is_guest,
        )
        return room_id

    async def knock(
        self, user_id: UserId, room_id_or_alias: str, *, via: Sequence[str] = (), reason: str | None = None
    ) -> RoomId:
        """Knock on a room; its id."""
        room_id, servers = await self._directory.room_of(room_id_or_alias)
        await self._changes.knock(user_id, room_id, via=join_servers(via, servers), reason=reason)
        return room_id
