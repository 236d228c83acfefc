"""Profiles. Specification: client-server API, "Profiles"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import UserId
from homeserver.core.rate import OTHER
from homeserver.users.profiles import Profiles
from homeserver.web.endpoint import NONE, USER_OR_GUEST, Requester, endpoint, endpoints

BODY_LIMIT_BYTES = 128 * 1024
UNSTABLE = ("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{key_name}",)
UNSTABLE_WHOLE = ("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}",)


@endpoint("GET", "/_matrix/client/v3/profile/{user_id}", access=NONE, limit=OTHER, also=UNSTABLE_WHOLE)
async def profile(profiles: Profiles, user_id: UserId) -> JsonObject:
    """A whole profile."""
    return await profiles.profile(user_id)


@endpoint("GET", "/_matrix/client/v3/profile/{user_id}/{key_name}", access=NONE, limit=OTHER, also=UNSTABLE)
async def profile_field(profiles: Profiles, user_id: UserId, key_name: str) -> JsonObject:
    """One field of a profile."""
    return await profiles.field(user_id, key_name)


@endpoint(
    "PUT",
    "/_matrix/client/v3/profile/{user_id}/{key_name}",
    access=USER_OR_GUEST,
    limit=OTHER,
    also=UNSTABLE,
    body_limit_bytes=BODY_LIMIT_BYTES,
)
async def set_profile_field(
    profiles: Profiles, who: Requester, user_id: UserId, key_name: str, content: JsonObject
) -> None:
    """Set a field of one's own profile."""
    await profiles.set(who, user_id, key_name, content)


@endpoint("DELETE", "/_matrix/client/v3/profile/{user_id}/{key_name}", access=USER_OR_GUEST, limit=OTHER, also=UNSTABLE)
async def delete_profile_field(profiles: Profiles, who: Requester, user_id: UserId, key_name: str) -> None:
    """Remove a field from one's own profile."""
    await profiles.delete(who, user_id, key_name)


ENDPOINTS = endpoints(__name__)
