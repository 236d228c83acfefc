"""Aliases of rooms, and which rooms are listed. Specification: client-server API, "Room directory"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core import rate
from homeserver.core.ids import RoomAlias, RoomId
from homeserver.rooms.directory import Directory
from homeserver.web.endpoint import NONE, USER, USER_OR_GUEST, Requester, endpoint, endpoints


class AliasedRoom(msgspec.Struct, frozen=True):
    """The room that gets an alias."""

    room_id: str


class FoundRoom(msgspec.Struct, frozen=True):
    """The room to which an alias leads."""

    room_id: str
    servers: list[str]


class Aliases(msgspec.Struct, frozen=True):
    """Aliases of a room."""

    aliases: list[str]


class Visibility(msgspec.Struct, frozen=True):
    """Whether a room is listed (public) or not."""

    visibility: Literal["public", "private"] = "public"


@endpoint("GET", "/_matrix/client/v3/directory/room/{room_alias}", access=NONE, limit=rate.DIRECTORY)
async def resolve_alias(directory: Directory, room_alias: RoomAlias) -> FoundRoom:
    """Where an alias leads. Specification: client-server API, GET /directory/room/{roomAlias}."""
    return FoundRoom(*await directory.resolve(room_alias))


@endpoint("PUT", "/_matrix/client/v3/directory/room/{room_alias}", access=USER, limit=rate.DIRECTORY)
async def add_alias(directory: Directory, who: Requester, room_alias: RoomAlias, body: AliasedRoom) -> None:
    """Give a room an alias. Specification: client-server API, PUT /directory/room/{roomAlias}."""
    await directory.add(who.user_id, room_alias, body.room_id)


@endpoint("DELETE", "/_matrix/client/v3/directory/room/{room_alias}", access=USER, limit=rate.DIRECTORY)
async def remove_alias(directory: Directory, who: Requester, room_alias: RoomAlias) -> None:
    """Take an alias away. Specification: client-server API, DELETE /directory/room/{roomAlias}."""
    await directory.remove(who.user_id, room_alias, is_admin=who.is_admin)


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/aliases", access=USER_OR_GUEST, limit=rate.DIRECTORY)
async def room_aliases(directory: Directory, who: Requester, room_id: RoomId) -> Aliases:
    """The aliases of a room. Specification: client-server API, GET /rooms/{roomId}/aliases."""
    return Aliases(await directory.aliases(who.user_id, room_id))


@endpoint("GET", "/_matrix/client/v3/directory/list/room/{room_id}", access=NONE, limit=rate.DIRECTORY)
async def visibility(directory: Directory, room_id: RoomId) -> Visibility:
    """Whether a room is listed. Specification: client-server API, GET /directory/list/room/{roomId}."""
    return Visibility("public" if await directory.is_listed(room_id) else "private")


@endpoint("PUT", "/_matrix/client/v3/directory/list/room/{room_id}", access=USER, limit=rate.DIRECTORY)
async def set_visibility(directory: Directory, who: Requester, room_id: RoomId, body: Visibility) -> None:
    """List a room, or not. Specification: client-server API, PUT /directory/list/room/{roomId}."""
    await directory.set_listed(who.user_id, room_id, body.visibility == "public", is_admin=who.is_admin)


ENDPOINTS = endpoints(__name__)
