"""Account data. Specification: client-server API, "Client Config"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.core.rate import OTHER
from homeserver.users.account_data import AccountData
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


@endpoint("GET", "/_matrix/client/v3/user/{user_id}/account_data/{type}", access=USER)
async def account_data(data: AccountData, who: Requester, user_id: UserId, type: str) -> bytes:
    """What belongs to no room."""
    return await data.get(who, user_id, None, type)


@endpoint("PUT", "/_matrix/client/v3/user/{user_id}/account_data/{type}", access=USER, limit=OTHER)
async def set_account_data(data: AccountData, who: Requester, user_id: UserId, type: str, content: JsonObject) -> None:
    """Keep what belongs to no room."""
    await data.put(who, user_id, None, type, content)


@endpoint("GET", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}", access=USER)
async def room_account_data(data: AccountData, who: Requester, user_id: UserId, room_id: RoomId, type: str) -> bytes:
    """What belongs to a room."""
    return await data.get(who, user_id, room_id, type)


@endpoint("PUT", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}", access=USER, limit=OTHER)
async def set_room_account_data(
    data: AccountData, who: Requester, user_id: UserId, room_id: RoomId, type: str, content: JsonObject
) -> None:
    """Keep what belongs to a room."""
    await data.put(who, user_id, room_id, type, content)


ENDPOINTS = endpoints(__name__)
