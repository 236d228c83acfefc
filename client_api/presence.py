"""Presence. Specification: client-server API, "Presence"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import UserId
from homeserver.core.rate import OTHER
from homeserver.users.presence import Presence
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints


class PresenceStatus(msgspec.Struct, frozen=True):
    """How one is, and what one says of it."""

    presence: Literal["online", "offline", "unavailable"]
    status_msg: str | None = None


@endpoint("PUT", "/_matrix/client/v3/presence/{user_id}/status", access=USER_OR_GUEST, limit=OTHER)
async def set_presence(service: Presence, who: Requester, user_id: UserId, body: PresenceStatus) -> None:
    """Say how one is. Specification: client-server API, PUT /presence/{userId}/status."""
    await service.set(who, user_id, body.presence, body.status_msg)


@endpoint("GET", "/_matrix/client/v3/presence/{user_id}/status", access=USER_OR_GUEST, limit=OTHER)
async def presence(service: Presence, who: Requester, user_id: UserId) -> JsonObject:
    """How somebody is. Specification: client-server API, GET /presence/{userId}/status."""
    return await service.status(who, user_id)


ENDPOINTS = endpoints(__name__)
