"""The list of published rooms, a page at a time. Specification: client-server API, GET and POST /publicRooms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.web.errors import InvalidParam, Unrecognized
from storage import public_rooms as public_table
from storage.database import Cursor, Database
from storage.public_rooms import Place, PublicRoom, Wanted

DEFAULT_LIMIT: Final = 100
MOST_ROOMS: Final = 500
_TOKEN: Final = re.compile(r"([ab])([0-9]{1,10})_([0-9]{1,18})")


class RemoteLists(Protocol):
    """The lists of other servers."""

    async def page(self, server: str, question: JsonObject) -> JsonObject:
        """A page of a server's list. Raises MatrixError."""
        ...


class PublicList:
    """Reads the list. A token is the place of a room in it, so rooms which come or go push no others off a page."""

    def __init__(self, database: Database, server_name: ServerName, remote: RemoteLists | None = None) -> None:
        self._database = database
        self._server_name = server_name
        self._remote = remote

    async def page(
        self,
        *,
        limit: int | None = None,
        since: str | None = None,
        server: str | None = None,
        search: str = "",
        room_types: Sequence[str | None] | None = None,
    ) -> JsonObject:
        """A page of the list."""
        if server is not None and server != self._server_name:
            if self._remote is None:
                raise Unrecognized("This server does not ask other servers for their lists of rooms.")
            return await self._remote.page(server, _question(limit, since, search, room_types))
        if limit is not None and limit < 0:
            raise InvalidParam("limit must not be negative.")
        size = min(DEFAULT_LIMIT if limit is None else limit, MOST_ROOMS)
        wanted = Wanted(search, room_types)
        backwards, place = (False, None) if since is None else _parse(since)
        rooms, total = await self._database.read(_page, wanted, size + 1, place, backwards=backwards)
        more = len(rooms) > size
        if more:
            rooms = rooms[1:] if backwards else rooms[:size]
        answer: JsonObject = {"chunk": [chunk(each) for each in rooms], "total_room_count_estimate": total}
        if rooms and (more or backwards):
            answer["next_batch"] = _token("a", rooms[-1])
        if rooms and (more if backwards else place is not None):
            answer["prev_batch"] = _token("b", rooms[0])
        return answer


def _question(limit: int | None, since: str | None, search: str, room_types: Sequence[str | None] | None) -> JsonObject:
    """The body of POST /publicRooms of the server-server API."""
    wanted: JsonObject = {}
    if search:
        wanted["generic_search_term"] = search
    if room_types is not None:
        wanted["room_types"] = list(room_types)
    question: JsonObject = {"filter": wanted} if wanted else {}
    if limit is not None:
        question["limit"] = limit
    if since is not None:
        question["since"] = since
    return question


def chunk(room: PublicRoom) -> JsonObject:
    """A room as lists show it. Specification: PublishedRoomsChunk."""
    shown: JsonObject = {
        "room_id": room.room_id,
        "num_joined_members": room.joined_members,
        "world_readable": room.history_visibility == "world_readable",
        "guest_can_join": room.guest_access == "can_join",
        "join_rule": room.join_rule or "invite",
    }
    optional = {
        "name": room.name,
        "topic": room.topic,
        "avatar_url": room.avatar_url,
        "canonical_alias": room.canonical_alias,
        "room_type": room.room_type,
    }
    shown.update({key: value for key, value in optional.items() if value is not None})
    return shown


def _page(
    tx: Cursor, wanted: Wanted, limit: int, place: Place | None, *, backwards: bool
) -> tuple[list[PublicRoom], int]:
    rooms = public_table.page(tx, wanted, limit=limit, after=place, backwards=backwards)
    return rooms, public_table.count(tx, wanted)


def _token(side: str, room: PublicRoom) -> str:
    """`a`: what comes after the room, `b`: what comes before it."""
    return f"{side}{room.joined_members}_{room.room}"


def _parse(token: str) -> tuple[bool, Place]:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise InvalidParam("since must be a next_batch or prev_batch that this server gave out.")
    return found[1] == "b", Place(int(found[2]), int(found[3]))
