"""Other servers look into spaces. Specification: server-server API, GET /hierarchy/{roomId}."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, ServerName
from homeserver.rooms.previews_for_servers import PreviewsForServers
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Question(msgspec.Struct, frozen=True):
    """Which of the children."""

    suggested_only: bool = False


@endpoint("GET", "/_matrix/federation/v1/hierarchy/{room_id}", access=SERVER)
async def hierarchy(previews: PreviewsForServers, who: ServerName, room_id: RoomId, query: Question) -> JsonObject:
    """A space with the rooms right below it."""
    return await previews.hierarchy(who, room_id, suggested_only=query.suggested_only)


ENDPOINTS = endpoints(__name__)
