"""Aliases of rooms, and which rooms are listed. Specification: client-server API, "Room directory"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.auth import Rejected
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.ids import (
    InvalidId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_alias,
    parse_room_id,
    server_name_of,
)
from homeserver.rooms.append import Appender
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.heads import Heads
from homeserver.rooms.plan import Plan
from homeserver.rooms.reading import Readings
from homeserver.rooms.room import Room
from homeserver.runtime.clock import Clock
from homeserver.web.errors import Conflict, Forbidden, InvalidParam, NotFound
from storage import aliases as alias_table
from storage import memberships as membership_table
from storage import room_log
from storage import rooms as room_table
from storage.database import Database

CANONICAL_ALIAS: Final = "m.room.canonical_alias"
MOST_SERVERS: Final = 50
"""Servers that are named with an alias."""


class Directory:
    """Keeps the directory of this server's rooms."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        readings: Readings,
        appender: Appender,
        elsewhere: Elsewhere,
        server_name: ServerName,
        clock: Clock,
    ) -> None:
        self._database = database
        self._heads = heads
        self._readings = readings
        self._appender = appender
        self._elsewhere = elsewhere
        self._server_name = server_name
        self._clock = clock

    async def resolve(self, alias: str) -> tuple[RoomId, list[str]]:
        """The room to which an alias leads, and servers that know it. GET /directory/room/{roomAlias}."""
        if server_name_of(alias) == self._server_name:
            return await self.resolve_ours(alias)
        found = await self._elsewhere.resolve(alias)
        if found is None:
            raise NotFound(f"There is no room alias {alias}.")
        return RoomId(found[0]), found[1]

    async def resolve_ours(self, alias: str) -> tuple[RoomId, list[str]]:
        """The same for an alias of this server. Server-server API, GET /query/directory."""
        found = await self._database.read(alias_table.rooms_of, [alias])
        if alias not in found or server_name_of(alias) != self._server_name:
            raise NotFound(f"There is no room alias {alias}.")
        number, room_id = found[alias]
        servers = [server for server, _ in await self._database.read(membership_table.servers_in, number)]
        return RoomId(room_id), list(dict.fromkeys((self._server_name, *servers)))[:MOST_SERVERS]

    async def room_of(self, room_id_or_alias: str) -> tuple[RoomId, list[str]]:
        """The same for either a room id or an alias; InvalidParam if it is neither."""
        try:
            if room_id_or_alias.startswith("#"):
                return await self.resolve(parse_alias(room_id_or_alias))
            return parse_room_id(room_id_or_alias), []
        except InvalidId as invalid:
            raise InvalidParam(f"This is neither a room ID nor an alias: {invalid}.") from None

    async def add(self, user_id: UserId, alias: RoomAlias, room_id: str) -> None:
        """Give a room that the user is in another alias. PUT /directory/room/{roomAlias}."""
        if server_name_of(alias) != self._server_name:
            raise InvalidParam(f"The alias {alias} is not one of this server, {self._server_name}.")
        room = await self._heads.if_known(room_id)
        if room is None or user_id not in room.local_joined:
            raise Forbidden("You can give aliases only to rooms that you are in.")
        if not await self._database.write(alias_table.add, alias, room.number, user_id, self._clock.now_ms()):
            raise Conflict(f"The room alias {alias} exists already.", "M_UNKNOWN")

    async def remove(self, user_id: UserId, alias: RoomAlias, *, is_admin: bool) -> None:
        """Take an alias away. DELETE /directory/room/{roomAlias}."""
        found = await self._database.read(alias_table.one, alias)
        if found is None or server_name_of(alias) != self._server_name:
            raise NotFound(f"There is no room alias {alias}.")
        room = await self._heads.by_number(found.room)
        if not (is_admin or found.creator == user_id or (room is not None and may_set_alias(room, user_id))):
            raise Forbidden("Only its creator and the room's moderators can take this alias away.")
        await self._database.write(alias_table.delete, alias)
        if room is not None and user_id in room.local_joined:
            await self._forget_alias(room, user_id, alias)

    async def aliases(self, user_id: str, room_id: str) -> list[str]:
        """The aliases that this server has for a room. GET /rooms/{roomId}/aliases."""
        reading = await self._readings.of(user_id, room_id)
        if reading.until is not None:
            raise Forbidden("You are not in this room any more.")
        return await self._database.read(alias_table.of_room, reading.room.number)

    async def is_listed(self, room_id: str) -> bool:
        """Whether a room is listed. GET /directory/list/room/{roomId}."""
        room = await self._heads.get(room_id)
        return await self._database.read(room_table.is_published, room.number)

    async def set_listed(self, user_id: str, room_id: str, listed: bool, *, is_admin: bool) -> None:
        """List a room, or take it out of the list. PUT /directory/list/room/{roomId}."""
        room = await self._heads.get(room_id)
        if not is_admin:
            if user_id not in room.local_joined:
                raise Forbidden("You are not in this room.")
            if not may_set_alias(room, user_id):
                raise Forbidden("You need the power level that setting the room's main alias needs.")
        await self._database.write(room_log.publish_room, room.number, listed)

    async def _forget_alias(self, room: Room, user_id: UserId, alias: str) -> None:
        """Take an alias out of m.room.canonical_alias, if the user may; it is gone in any case."""

        def script(plan: Plan) -> None:
            planned = plan.room(room.room_id)
            current = planned.state(CANONICAL_ALIAS)
            content = None if current is None else without_alias(current.event.content, alias)
            if content is None:
                return
            try:
                planned.add(Draft(room.room_id, CANONICAL_ALIAS, user_id, content, ""))
            except Rejected:
                return  # "delete the alias and return a successful response even if the user does not have permission"

        await self._appender.run(script)


def may_set_alias(room: Room, user_id: str) -> bool:
    """Whether the user is powerful enough to set the room's main alias, which is also asked of those who list it."""
    power = room.power
    return power.of_user(UserId(user_id)) >= power.needed_for_event(CANONICAL_ALIAS, is_state=True)


def without_alias(content: JsonObject, alias: str) -> JsonObject | None:
    """The content of m.room.canonical_alias without an alias; None if it is not in it."""
    changed = dict(content)
    if changed.get("alias") == alias:
        del changed["alias"]
    others = changed.get("alt_aliases")
    if isinstance(others, list) and alias in others:
        changed["alt_aliases"] = [each for each in others if each != alias]
    return None if changed == content else changed


def join_servers(named: Sequence[str], found: Sequence[str]) -> list[str]:
    """Servers through which a room can be joined, those that the client names first, each once."""
    return list(dict.fromkeys((*named, *found)))
