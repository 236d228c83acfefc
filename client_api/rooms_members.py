"""Who is in which room. Specification: client-server API, "Getting events for a room"; "Room membership"."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.core import rate
from homeserver.core.ids import InvalidId, RoomId, parse_user_id
from homeserver.rooms.members import Members
from homeserver.rooms.reading import token_of
from homeserver.web.endpoint import USER, USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam
from homeserver.web.response import StreamedResponse

Membership = Literal["join", "invite", "knock", "leave", "ban"]


class MembersQuery(msgspec.Struct, frozen=True):
    """The query of GET /members."""

    at: str | None = None
    membership: Membership | None = None
    not_membership: Membership | None = None


class MutualQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query of GET /mutual_rooms."""

    user_id: str
    from_: str | None = None


class MutualRooms(msgspec.Struct, frozen=True):
    """Rooms that two users share."""

    joined: list[str]
    count: int
    next_batch: str | UnsetType = UNSET


class JoinedRooms(msgspec.Struct, frozen=True):
    """The rooms that a user is in."""

    joined_rooms: list[str]


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/members", access=USER_OR_GUEST)
async def members(service: Members, who: Requester, room_id: RoomId, query: MembersQuery) -> bytes | StreamedResponse:
    """Member events. Specification: client-server API, GET /rooms/{roomId}/members."""
    at = token_of(query.at or None)
    return await service.listed(who.user_id, room_id, at, query.membership, query.not_membership)


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/joined_members", access=USER_OR_GUEST)
async def joined_members(service: Members, who: Requester, room_id: RoomId) -> bytes | StreamedResponse:
    """Profiles of those in a room. Specification: client-server API, GET /rooms/{roomId}/joined_members."""
    return await service.joined(who.user_id, room_id)


@endpoint("GET", "/_matrix/client/v3/joined_rooms", access=USER_OR_GUEST)
async def joined_rooms(service: Members, who: Requester) -> JoinedRooms:
    """The rooms that one is in. Specification: client-server API, GET /joined_rooms."""
    return JoinedRooms(await service.rooms_of(who.user_id))


@endpoint(
    "GET",
    "/_matrix/client/v1/mutual_rooms",
    access=USER,
    limit=rate.DIRECTORY,
    also=("/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",),
)
async def mutual_rooms(service: Members, who: Requester, query: MutualQuery) -> MutualRooms:
    """Rooms that one shares with somebody. Specification: client-server API, GET /mutual_rooms."""
    if query.user_id == who.user_id:
        raise InvalidParam("The rooms that you share with yourself are your joined_rooms.")
    try:
        parse_user_id(query.user_id)
    except InvalidId as invalid:
        raise InvalidParam(f"user_id is not valid: {invalid}.") from None
    start = query.from_ or "0"
    if not (start.isascii() and start.isdigit() and len(start) <= 18):
        raise InvalidParam("from must be a next_batch of this list.")
    rooms, count, end = await service.mutual(who.user_id, query.user_id, int(start))
    return MutualRooms(rooms, count, UNSET if end is None else str(end))


ENDPOINTS = endpoints(__name__)
