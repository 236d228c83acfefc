"""Asks policy servers to sign events.

Specification: server-server API, "Policy Servers", POST /_matrix/policy/v1/sign.
"""

from __future__ import annotations

from typing import Final

from federation.outbound.client import FederationClient
from homeserver.core.canonical_json import JsonObject

TIMEOUT_S: Final = 10.0
LIMIT_BYTES: Final = 64 * 1024


class PolicyRequests:
    """The requests."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def sign(self, server: str, pdu: bytes, *, ignore_backoff: bool) -> JsonObject:
        """POST sign: the policy server's signatures alone. Raises RemoteError."""
        return await self._client.post(
            server,
            "/_matrix/policy/v1/sign",
            body=pdu,
            timeout_s=TIMEOUT_S,
            limit_bytes=LIMIT_BYTES,
            ignore_backoff=ignore_backoff,
        )
