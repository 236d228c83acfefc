"""Rooms from outside: summaries, and the tree below a space. Specification: client-server API, "Spaces"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId
from homeserver.rooms.previews import DEEPEST, DEFAULT_LIMIT, Previews, TreeAsk
from homeserver.web.endpoint import OPTIONAL, USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam


class TreeQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query of GET /hierarchy."""

    suggested_only: bool = False
    limit: int = DEFAULT_LIMIT
    max_depth: int = DEEPEST
    from_: str | None = None


@endpoint(
    "GET",
    "/_matrix/client/v1/room_summary/{room_id_or_alias}",
    access=OPTIONAL,
    limit=rate.DIRECTORY,
    also=("/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}",),
)
async def room_summary(previews: Previews, who: Requester | None, room_id_or_alias: str) -> JsonObject:
    """What may be known of a room. Specification: client-server API, GET /room_summary/{roomIdOrAlias}."""
    return await previews.summary(None if who is None else who.user_id, room_id_or_alias)


@endpoint("GET", "/_matrix/client/v1/rooms/{room_id}/hierarchy", access=USER_OR_GUEST, limit=rate.DIRECTORY)
async def hierarchy(previews: Previews, who: Requester, room_id: RoomId, query: TreeQuery) -> JsonObject:
    """The rooms below a space. Specification: client-server API, GET /rooms/{roomId}/hierarchy."""
    if query.limit < 1:
        raise InvalidParam("limit must be greater than zero.")
    if query.max_depth < 0:
        raise InvalidParam("max_depth must not be negative.")
    ask = TreeAsk(query.suggested_only, query.limit, query.max_depth, query.from_ or None)
    return await previews.hierarchy(who.user_id, room_id, ask)


ENDPOINTS = endpoints(__name__)
