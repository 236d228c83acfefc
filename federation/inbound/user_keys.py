"""Other servers ask for devices and keys of users of this one.

Specification: server-server API, "Device Management", "End-to-End Encryption".
"""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName, UserId
from homeserver.encryption.for_servers import KeysForServers
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Query(msgspec.Struct, frozen=True):
    """User id → device ids (none: all of them)."""

    device_keys: dict[str, list[str]]


class Claim(msgspec.Struct, frozen=True):
    """User id → device id → algorithm."""

    one_time_keys: dict[str, dict[str, str]]


@endpoint("GET", "/_matrix/federation/v1/user/devices/{user_id}", access=SERVER)
async def user_devices(keys: KeysForServers, who: ServerName, user_id: UserId) -> JsonObject:
    """All devices of a user. Specification: server-server API, GET /user/devices/{userId}."""
    return await keys.devices(user_id)


@endpoint("POST", "/_matrix/federation/v1/user/keys/query", access=SERVER)
async def query_keys(keys: KeysForServers, who: ServerName, body: Query) -> dict[str, object]:
    """Keys of devices and users. Specification: server-server API, POST /user/keys/query."""
    return await keys.query(body.device_keys)


@endpoint("POST", "/_matrix/federation/v1/user/keys/claim", access=SERVER)
async def claim_keys(keys: KeysForServers, who: ServerName, body: Claim) -> dict[str, object]:
    """One-time keys, each given out once. Specification: server-server API, POST /user/keys/claim."""
    return await keys.claim(body.one_time_keys)


ENDPOINTS = endpoints(__name__)
