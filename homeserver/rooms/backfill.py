"""History that we do not have: fetched from servers in the room when somebody reads that far back.

Specification: server-server API, "Backfilling and retrieving missing events"; client-server API,
GET /rooms/{roomId}/messages.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from homeserver.core.ids import ServerName, server_name_of
from homeserver.rooms.accept import Accepter
from homeserver.rooms.gaps import PeerFailed
from homeserver.rooms.room import Room
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.runtime.turns import Turns
from storage import memberships as membership_table
from storage import received
from storage.database import Database

EVENTS_AT_ONCE: Final = 100
MOST_STARTS: Final = 5
MOST_SERVERS: Final = 4
PAUSE_S: Final = 60.0
"""Where nobody could tell more about an end of the history, it is left alone for so long."""
MOST_TIRED: Final = 10_000

log: Final = structlog.get_logger("homeserver.rooms.backfill")


class OlderHistory(Protocol):
    """Where more history may come from."""

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Try to get what comes before events at these depths; whether there is more now."""
        ...


class NoOlderHistory:
    """All there is, is here."""

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Nothing."""
        return False


class Backfill:
    """Fetches older history."""

    def __init__(self, database: Database, accepter: Accepter, server_name: ServerName, clock: Clock) -> None:
        self._database = database
        self._accepter = accepter
        self._server_name = server_name
        self._clock = clock
        self._turns: Turns[int] = Turns()
        self._tired: Lru[tuple[int, str], float] = Lru(MOST_TIRED)

    async def fetch(self, room: Room, low: int, high: int) -> bool:
        """Try to get what comes before events at these depths; whether there is more now."""
        if room.is_ours_alone(self._server_name) or not room.local_joined:
            return False
        async with self._turns.at(room.number):
            now_s = self._clock.monotonic_s()
            found = await self._database.read(received.ends_between, room.number, low, high, MOST_STARTS)
            ends = [each for each in found if (self._tired.get((room.number, each)) or 0.0) <= now_s]
            if not ends:
                return False
            for server in await self._servers(room):
                if await self._fetch_from(server, room, ends):
                    return True
            for event_id in ends:
                self._tired.put((room.number, event_id), now_s + PAUSE_S)
            return False

    async def _fetch_from(self, server: str, room: Room, ends: list[str]) -> bool:
        try:
            filling = await self._accepter.history(room, server, ends, EVENTS_AT_ONCE)
        except PeerFailed as failed:
            log.info("no older history came", room=room.room_id, server=server, reason=str(failed))
            return False
        count = await self._accepter.accept_history(room.room_id, filling, server)
        log.info("older history came", room=room.room_id, server=server, events=count)
        return count > 0

    async def _servers(self, room: Room) -> list[str]:
        """Whom to ask: whoever made the room, then those with the most members."""
        present = [
            server
            for server, _ in await self._database.read(membership_table.servers_in, room.number)
            if server != self._server_name
        ]
        maker = server_name_of(room.create.sender)
        return sorted(present, key=lambda server: server != maker)[:MOST_SERVERS]
