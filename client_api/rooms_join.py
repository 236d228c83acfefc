"""Ways into rooms by id or by alias. Specification: client-server API, "Joining rooms" and "Knocking on rooms"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.rooms.entering import Entering
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER, USER_OR_GUEST, Requester, endpoint, endpoints


class ViaQuery(msgspec.Struct, frozen=True):
    """Servers that know the room; `server_name` is the name of the parameter before v1.12."""

    via: list[str] = []
    server_name: list[str] = []

    @property
    def servers(self) -> list[str]:
        """All that are named."""
        return [*self.via, *self.server_name]


class Join(msgspec.Struct, frozen=True):
    """Why, and the proof that a third-party invite is meant for the user."""

    reason: str | None = None
    third_party_signed: ObjectField | None = None


class Knock(msgspec.Struct, frozen=True):
    """Why."""

    reason: str | None = None


class Entered(msgspec.Struct, frozen=True):
    """Which room it was."""

    room_id: str


@endpoint("POST", "/_matrix/client/v3/join/{room_id_or_alias}", access=USER_OR_GUEST, limit=rate.JOIN)
async def join(entering: Entering, who: Requester, room_id_or_alias: str, query: ViaQuery, body: Join) -> Entered:
    """Join a room. Specification: client-server API, POST /join/{roomIdOrAlias}."""
    return Entered(
        await entering.join(
            who.user_id,
            room_id_or_alias,
            via=query.servers,
            reason=body.reason,
            third_party_signed=body.third_party_signed,
            is_guest=who.is_guest,
        )
    )


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/join", access=USER_OR_GUEST, limit=rate.JOIN)
async def join_room(entering: Entering, who: Requester, room_id: str, body: Join) -> Entered:
    """Join a room that this server knows. Specification: client-server API, POST /rooms/{roomId}/join."""
    return Entered(
        await entering.join(
            who.user_id,
            room_id,
            reason=body.reason,
            third_party_signed=body.third_party_signed,
            is_guest=who.is_guest,
        )
    )


@endpoint("POST", "/_matrix/client/v3/knock/{room_id_or_alias}", access=USER, limit=rate.JOIN)
async def knock(entering: Entering, who: Requester, room_id_or_alias: str, query: ViaQuery, body: Knock) -> Entered:
    """Ask to be let in. Specification: client-server API, POST /knock/{roomIdOrAlias}."""
    return Entered(await entering.knock(who.user_id, room_id_or_alias, via=query.servers, reason=body.reason))


ENDPOINTS = endpoints(__name__)
