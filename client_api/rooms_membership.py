"""Memberships of rooms, one's own and others'. Specification: client-server API, "Room membership"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.ids import RoomId
from homeserver.rooms.membership import MembershipChanges
from homeserver.web.endpoint import USER, USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import BadRequest, MissingParam


class Reason(msgspec.Struct, frozen=True):
    """Why."""

    reason: str | None = None


class Target(msgspec.Struct, frozen=True):
    """Who, and why."""

    user_id: str
    reason: str | None = None


class Invite(msgspec.Struct, frozen=True):
    """Who is invited: a user, or (by an identity server, which this server does not use) whoever has an address."""

    user_id: str | None = None
    reason: str | None = None
    id_server: str | None = None
    medium: str | None = None
    address: str | None = None


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/leave", access=USER_OR_GUEST)
async def leave(changes: MembershipChanges, who: Requester, room_id: RoomId, body: Reason) -> None:
    """Leave. Specification: client-server API, POST /rooms/{roomId}/leave."""
    await changes.leave(who.user_id, room_id, reason=body.reason)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/forget", access=USER_OR_GUEST)
async def forget(changes: MembershipChanges, who: Requester, room_id: RoomId) -> None:
    """Forget a room that was left. Specification: client-server API, POST /rooms/{roomId}/forget."""
    await changes.forget(who.user_id, room_id)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/invite", access=USER, limit=rate.INVITE)
async def invite(changes: MembershipChanges, who: Requester, room_id: RoomId, body: Invite) -> None:
    """Invite. Specification: client-server API, POST /rooms/{roomId}/invite."""
    if body.user_id is None:
        if body.address is not None or body.medium is not None or body.id_server is not None:
            raise BadRequest("This server trusts no identity server: invite by user ID.", "M_SERVER_NOT_TRUSTED")
        raise MissingParam("An invite needs the user_id of the one to invite.")
    await changes.invite(who.user_id, room_id, body.user_id, reason=body.reason)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/kick", access=USER)
async def kick(changes: MembershipChanges, who: Requester, room_id: RoomId, body: Target) -> None:
    """Remove someone. Specification: client-server API, POST /rooms/{roomId}/kick."""
    await changes.kick(who.user_id, room_id, body.user_id, reason=body.reason)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/ban", access=USER)
async def ban(changes: MembershipChanges, who: Requester, room_id: RoomId, body: Target) -> None:
    """Ban someone. Specification: client-server API, POST /rooms/{roomId}/ban."""
    await changes.ban(who.user_id, room_id, body.user_id, reason=body.reason)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/unban", access=USER)
async def unban(changes: MembershipChanges, who: Requester, room_id: RoomId, body: Target) -> None:
    """Lift a ban. Specification: client-server API, POST /rooms/{roomId}/unban."""
    await changes.unban(who.user_id, room_id, body.user_id, reason=body.reason)


ENDPOINTS = endpoints(__name__)
