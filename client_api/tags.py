"""Tags of rooms. Specification: client-server API, "Room Tagging"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.core.rate import OTHER
from homeserver.users.tags import Tags
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


@endpoint("GET", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags", access=USER)
async def every_tag(tags: Tags, who: Requester, user_id: UserId, room_id: RoomId) -> dict[str, JsonObject]:
    """The tags of a room."""
    return {"tags": await tags.every(who, user_id, room_id)}


@endpoint("PUT", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}", access=USER, limit=OTHER)
async def set_tag(tags: Tags, who: Requester, user_id: UserId, room_id: RoomId, tag: str, content: JsonObject) -> None:
    """Give a tag to a room."""
    await tags.put(who, user_id, room_id, tag, content)


@endpoint("DELETE", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}", access=USER, limit=OTHER)
async def delete_tag(tags: Tags, who: Requester, user_id: UserId, room_id: RoomId, tag: str) -> None:
    """Take a tag away."""
    await tags.delete(who, user_id, room_id, tag)


ENDPOINTS = endpoints(__name__)
