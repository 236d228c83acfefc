"""Who is in which room. Specification: client-server API, "Getting events for a room"; "Room membership"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import RoomId
from homeserver.rooms.members import Members
from homeserver.rooms.reading import token_of
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints

Membership = Literal["join", "invite", "knock", "leave", "ban"]


class MembersQuery(msgspec.Struct, frozen=True):
    """The query of GET /members."""

    at: str | None = None
    membership: Membership | None = None
    not_membership: Membership | None = None


class JoinedRooms(msgspec.Struct, frozen=True):
    """The rooms that a user is in."""

    joined_rooms: list[str]


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/members", access=USER_OR_GUEST)
async def members(service: Members, who: Requester, room_id: RoomId, query: MembersQuery) -> bytes:
    """Member events. Specification: client-server API, GET /rooms/{roomId}/members."""
    at = token_of(query.at or None)
    return await service.listed(who.user_id, room_id, at, query.membership, query.not_membership)


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/joined_members", access=USER_OR_GUEST)
async def joined_members(service: Members, who: Requester, room_id: RoomId) -> bytes:
    """Profiles of those in a room. Specification: client-server API, GET /rooms/{roomId}/joined_members."""
    return await service.joined(who.user_id, room_id)


@endpoint("GET", "/_matrix/client/v3/joined_rooms", access=USER_OR_GUEST)
async def joined_rooms(service: Members, who: Requester) -> JoinedRooms:
    """The rooms that one is in. Specification: client-server API, GET /joined_rooms."""
    return JoinedRooms(await service.rooms_of(who.user_id))


ENDPOINTS = endpoints(__name__)
