"""Which other servers to ask about a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.ids import ServerName, server_name_of
from homeserver.rooms.room import Room
from storage import memberships
from storage.database import Database

MOST_SERVERS: Final = 4


class Neighbours:
    """The other servers in rooms."""

    def __init__(self, database: Database, server_name: ServerName) -> None:
        self._database = database
        self._server_name = server_name

    async def of(self, room: Room, first: Sequence[str] = (), most: int = MOST_SERVERS) -> list[str]:
        """Whom to ask: those `first`, whoever made the room, if it is still there, then those with the most members."""
        found = await self._database.read(memberships.servers_in, room.number)
        present = [server for server, _ in found if server != self._server_name]
        maker = server_name_of(room.create.sender)
        ordered = dict.fromkeys((*first, *sorted(present, key=lambda server: server != maker)))
        return [server for server in ordered if server != self._server_name][:most]
