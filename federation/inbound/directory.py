"""Other servers look up aliases of this one. Specification: server-server API, GET /query/directory."""

from __future__ import annotations

from typing import cast

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import ServerName
from homeserver.rooms.directory import Directory
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Question(msgspec.Struct, frozen=True):
    """Which alias."""

    room_alias: str


@endpoint("GET", "/_matrix/federation/v1/query/directory", access=SERVER)
async def directory(directory: Directory, who: ServerName, query: Question) -> JsonObject:
    """The room to which an alias leads, and servers that are in it."""
    room_id, servers = await directory.resolve_ours(query.room_alias)
    return {"room_id": room_id, "servers": cast("list[JsonValue]", servers)}


ENDPOINTS = endpoints(__name__)
