"""Making rooms. Specification: client-server API, "Creation"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.rooms.create import CreateRoom, RoomCreation
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints


class RoomMade(msgspec.Struct, frozen=True):
    """Which room was made."""

    room_id: str


@endpoint("POST", "/_matrix/client/v3/createRoom", access=USER_OR_GUEST, limit=rate.ROOM_CREATION)
async def create_room(creation: RoomCreation, who: Requester, body: CreateRoom) -> RoomMade:
    """Make a room. Specification: client-server API, POST /createRoom."""
    return RoomMade(await creation.create(who.user_id, body))


ENDPOINTS = endpoints(__name__)
