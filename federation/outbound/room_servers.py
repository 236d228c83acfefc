"""Which other servers are in a room: what decides where its events go.

A set of names for each room in use, not of members; read from the memberships once, then kept by following the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from homeserver.core.ids import ServerName, server_name_of
from homeserver.runtime.lru import Lru
from storage import memberships, rooms, sending
from storage.database import Cursor, Database
from storage.rows import EventRow, StateRow

MOST_SERVERS: Final = 500_000
"""Names remembered, of all rooms together."""
MOST_FOLLOWED: Final = 20
"""Changes of one event that are looked at; with more, such as when a room is taken over, it is read anew."""


@dataclass(slots=True)
class Peers:
    """The other servers in a room."""

    room_id: str
    servers: set[str] = field(default_factory=set)


class RoomServers:
    """The other servers in the rooms that somebody uses. Only one follower of the log may use it."""

    def __init__(self, database: Database, server_name: ServerName) -> None:
        self._database = database
        self._server_name = server_name
        self._rooms: Lru[int, Peers] = Lru(MOST_SERVERS, lambda _, peers: 1 + len(peers.servers))

    async def of(self, room: int) -> Peers:
        """The other servers in a room, with the room's id."""
        peers = self._rooms.get(room)
        if peers is None:
            peers = await self._database.read(_read, room, self._server_name)
            self._rooms.put(room, peers)
        return peers

    def is_known_in(self, room: int, server: str) -> bool:
        """Whether a server is in a room for sure; False also where nobody has looked."""
        peers = self._rooms.peek(room)
        return peers is not None and server in peers.servers

    async def follow(self, row: EventRow | StateRow) -> None:
        """An event, or another state, has changed memberships."""
        if len(row.members) > MOST_FOLLOWED or isinstance(row, StateRow):
            self._rooms.discard(row.room)
            return
        for change in row.members:
            if change.is_local:
                if change.membership != "join":
                    # Perhaps the last of ours: who comes back later may hear of other servers with the join.
                    self._rooms.discard(row.room)
                    return
                continue
            peers = self._rooms.peek(row.room)
            if peers is None:
                return
            server = server_name_of(change.user_id)
            is_in = server in peers.servers
            if change.membership == "join":
                is_in = True
            elif is_in:
                is_in = await self._database.read(sending.is_in_room, row.room, server)
            if is_in != (server in peers.servers):
                servers = peers.servers | {server} if is_in else peers.servers - {server}
                self._rooms.put(row.room, Peers(peers.room_id, servers))

    def forget(self) -> None:
        """Read everything anew: some of the log went by unseen."""
        self._rooms.clear()


def _read(tx: Cursor, room: int, server_name: str) -> Peers:
    servers = {server for server, _ in memberships.servers_in(tx, room) if server != server_name}
    return Peers(rooms.ids_of(tx, [room]).get(room, ""), servers)
