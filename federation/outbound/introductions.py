"""Whose devices a server is to be told of because it shares a room with them only from now on.

Until then it got no updates. Specification: server-server API, "Device Management": m.device_list_update must be sent
also "when that user joins a room which contains servers which are not already receiving updates". A server that comes
into a room of ours looks at the lists by itself; but where it came in through another server we hear of that late, and
what changed in between went past it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from federation.outbound.room_servers import RoomServers
from homeserver.core.ids import ServerName, server_name_of
from storage import memberships, sending
from storage.database import Database
from storage.rows import EventRow

CLOCKS_DIFFER_MS: Final = 600_000
"""The clock of another server may be wrong by so much."""


class Introductions:
    """Finds out who meets whom. For the follower of the log that `RoomServers` belongs to."""

    def __init__(self, database: Database, servers: RoomServers, server_name: ServerName) -> None:
        self._database = database
        self._servers = servers
        self._server_name = server_name

    def newcomers(self, row: EventRow) -> set[str]:
        """Servers that perhaps come into the room with this event; to be asked before `RoomServers` follows it."""
        return {
            server
            for change in row.members
            if not change.is_local and change.membership == "join" and change.position == row.position
            if not self._servers.is_known_in(row.room, server := server_name_of(change.user_id))
        }

    async def due(self, row: EventRow, newcomers: Collection[str]) -> list[tuple[str, set[str]]]:
        """Users of ours, and the servers that they meet by this event; `RoomServers` has followed it."""
        found = [
            (change.user_id, await self._met_by(change.user_id, row))
            for change in row.members
            if change.is_local and change.membership == "join" and change.position == row.position
        ]
        if newcomers:
            since_ts = row.event.origin_server_ts - CLOCKS_DIFFER_MS
            changed = await self._database.read(sending.lists_changed_since, row.room, self._server_name, since_ts)
            found += [(user_id, await self._strangers(user_id, row.room) & set(newcomers)) for user_id in changed]
        return [(user_id, servers) for user_id, servers in found if servers]

    async def _met_by(self, user_id: str, row: EventRow) -> set[str]:
        """The servers that a user meets who came into a room, unless they were in it and only changed their name."""
        if not (await self._servers.of(row.room)).servers:
            return set()
        before = await self._database.read(memberships.before, user_id, row.room, row.position - 1)
        if before is not None and before[1] == "join":
            return set()
        return await self._strangers(user_id, row.room)

    async def _strangers(self, user_id: str, room: int) -> set[str]:
        """The servers in a room that are in no other room with the user."""
        found = set((await self._servers.of(room)).servers)
        for other in await self._database.read(sending.rooms_of, user_id):
            if other != room:
                found -= (await self._servers.of(other)).servers
        return found
