"""Typing notices. Specification: client-server API, "Typing Notifications"."""

from __future__ import annotations

import msgspec

from homeserver.core.ids import RoomId, UserId
from homeserver.rooms.typing import Typing
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import Forbidden

DEFAULT_TIMEOUT_MS = 30_000


class TypingNotice(msgspec.Struct, frozen=True):
    """Whether the user types, and for how long (ms)."""

    typing: bool
    timeout: int = DEFAULT_TIMEOUT_MS


@endpoint("PUT", "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", access=USER_OR_GUEST)
async def typing(service: Typing, who: Requester, room_id: RoomId, user_id: UserId, body: TypingNotice) -> None:
    """Say that one types. Specification: client-server API, PUT /rooms/{roomId}/typing/{userId}."""
    if user_id != who.user_id:
        raise Forbidden("You can only say that you type yourself.")
    await service.set(user_id, room_id, typing=body.typing, timeout_ms=body.timeout)


ENDPOINTS = endpoints(__name__)
