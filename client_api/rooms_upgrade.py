"""Replacing rooms. Specification: client-server API, "Room Upgrades"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.ids import RoomId
from homeserver.rooms.upgrade import Upgrades
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


class Upgrade(msgspec.Struct, frozen=True):
    """To which version, and who is to be as powerful as the one who upgrades."""

    new_version: str
    additional_creators: list[str] | None = None


class Upgraded(msgspec.Struct, frozen=True):
    """The new room."""

    replacement_room: str


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/upgrade", access=USER, limit=rate.ROOM_CREATION)
async def upgrade_room(upgrades: Upgrades, who: Requester, room_id: RoomId, body: Upgrade) -> Upgraded:
    """Make a room that follows this one. Specification: client-server API, POST /rooms/{roomId}/upgrade."""
    return Upgraded(await upgrades.upgrade(who.user_id, room_id, body.new_version, body.additional_creators or ()))


ENDPOINTS = endpoints(__name__)
