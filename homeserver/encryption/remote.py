"""Keys of other servers' users. Federation is one such helper; without it, no other server is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from homeserver.core.canonical_json import JsonObject


class RemoteKeysFailed(Exception):
    """The other server gave no usable answer. The text is for the client."""


class RemoteKeys(Protocol):
    """Asks other servers for keys. Everything raises RemoteKeysFailed.

    Server-server API, "End-to-End Encryption" and "Device Management".
    """

    async def query(self, server_name: str, device_keys: Mapping[str, Sequence[str]], timeout_ms: int) -> JsonObject:
        """The answer of POST /_matrix/federation/v1/user/keys/query."""
        ...

    async def claim(
        self, server_name: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> JsonObject:
        """The answer of POST /_matrix/federation/v1/user/keys/claim. Never sent twice: a key may be lost by that."""
        ...

    async def devices(self, user_id: str) -> JsonObject:
        """The answer of GET /_matrix/federation/v1/user/devices/{userId}."""
        ...


class NoRemoteKeys:
    """There are no other servers."""

    async def query(self, server_name: str, device_keys: Mapping[str, Sequence[str]], timeout_ms: int) -> JsonObject:
        """Refused."""
        raise _unreachable(server_name)

    async def claim(
        self, server_name: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> JsonObject:
        """Refused."""
        raise _unreachable(server_name)

    async def devices(self, user_id: str) -> JsonObject:
        """Refused."""
        raise _unreachable(user_id)


def _unreachable(name: str) -> RemoteKeysFailed:
    return RemoteKeysFailed(f"This server does not talk to others, so not for {name} either.")
