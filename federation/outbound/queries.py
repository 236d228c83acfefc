"""Questions to other servers that have nothing to do with the history of a room.

Specification: server-server API, "Querying for information", "Public Room Directory", "Spaces".
"""

from __future__ import annotations

from federation.outbound.client import FederationClient, path
from federation.outbound.errors import RemoteNonsense, RemoteRefused
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import server_name_of

TIMEOUT_S = 20.0


class Queries:
    """Asks. Everything raises RemoteError."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def room_of(self, alias: str) -> tuple[str, list[str]] | None:
        """The room to which an alias leads, and servers in it; None if there is no such alias."""
        server = server_name_of(alias)
        try:
            answer = await self._client.get(
                server, "/_matrix/federation/v1/query/directory", {"room_alias": alias}, timeout_s=TIMEOUT_S
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        room_id, servers = answer.get("room_id"), answer.get("servers")
        if not isinstance(room_id, str):
            raise RemoteNonsense(server, "answered a question for an alias without a room ID")
        named = [each for each in servers if isinstance(each, str)] if isinstance(servers, list) else []
        return room_id, list(dict.fromkeys((*named, server)))

    async def profile(self, user_id: str, field: str | None = None) -> JsonObject:
        """The profile of a user, or one field of it."""
        return await self._client.get(
            server_name_of(user_id),
            "/_matrix/federation/v1/query/profile",
            {"user_id": user_id, "field": field},
            timeout_s=TIMEOUT_S,
        )

    async def public_rooms(self, server: str, question: JsonObject) -> JsonObject:
        """A page of a server's list of rooms."""
        target = "/_matrix/federation/v1/publicRooms"
        return await self._client.post(server, target, None, question, timeout_s=TIMEOUT_S)

    async def hierarchy(self, server: str, room_id: str, *, suggested_only: bool) -> JsonObject:
        """A space and the rooms right below it."""
        return await self._client.get(
            server,
            path("/_matrix/federation/v1/hierarchy/{}", room_id),
            {"suggested_only": suggested_only},
            timeout_s=TIMEOUT_S,
        )

    async def user_devices(self, user_id: str) -> JsonObject:
        """All devices of a user, with their keys."""
        return await self._client.get(
            server_name_of(user_id), path("/_matrix/federation/v1/user/devices/{}", user_id), timeout_s=TIMEOUT_S
        )

    async def query_keys(self, server: str, device_keys: JsonObject) -> JsonObject:
        """The keys of devices of the server's users."""
        body: JsonObject = {"device_keys": device_keys}
        target = "/_matrix/federation/v1/user/keys/query"
        return await self._client.post(server, target, None, body, timeout_s=TIMEOUT_S)

    async def claim_keys(self, server: str, one_time_keys: JsonObject) -> JsonObject:
        """One-time keys of the server's users: each is given out once, so this is not tried again."""
        body: JsonObject = {"one_time_keys": one_time_keys}
        return await self._client.post(
            server, "/_matrix/federation/v1/user/keys/claim", None, body, timeout_s=TIMEOUT_S, repeatable=False
        )
