"""Invites to addresses, once it is known whose they are. Specification: server-server API, "Third-party invites"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, ServerName
from homeserver.core.rate import OTHER
from homeserver.rooms.third_party_invites import BoundInvite, ThirdPartyInvites
from homeserver.web.endpoint import NONE, SERVER, endpoint, endpoints


class Bound(msgspec.Struct, frozen=True):
    """Whose an address is, and what waited for it."""

    mxid: str
    medium: str
    address: str
    invites: list[BoundInvite]


@endpoint("PUT", "/_matrix/federation/v1/exchange_third_party_invite/{room_id}", access=SERVER)
async def exchange(invites: ThirdPartyInvites, who: ServerName, room_id: RoomId, content: JsonObject) -> None:
    """Make an invite. Specification: server-server API, PUT /exchange_third_party_invite/{roomId}."""
    await invites.exchange(who, room_id, content)


@endpoint("PUT", "/_matrix/federation/v1/3pid/onbind", access=NONE, limit=OTHER)
async def bound(invites: ThirdPartyInvites, body: Bound) -> None:
    """An identity server tells of an address. Specification: server-server API, PUT /3pid/onbind."""
    await invites.bound(body.mxid, body.invites)


ENDPOINTS = endpoints(__name__)
