"""Fetches keys of servers: from the servers themselves and from notaries.

Specification: server-server API, "Retrieving server keys".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred, DeferredList

from federation.outbound.client import FederationClient
from federation.outbound.errors import RemoteError
from federation.outbound.signature_checks import SignatureChecks
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.server_keys import BadServerKeys, ServerKeys, parse_server_keys
from homeserver.core.signatures import BadSignature
from homeserver.runtime.clock import Clock

OWNER_TIMEOUT_S: Final = 10.0
NOTARY_TIMEOUT_S: Final = 30.0
SERVERS_PER_QUERY: Final = 100
LIMIT_BYTES: Final = 512 * 1024

log: Final = structlog.get_logger("federation.keys")

SignedBy = Callable[[str, JsonObject], Awaitable[None]]
"""Raises BadSignature unless a server has signed an object with a key that it uses now."""


class KeyFetcher:
    """Asks for keys. What it hands back is signed by the owner of the keys."""

    def __init__(self, client: FederationClient, checks: SignatureChecks, clock: Clock) -> None:
        self._client = client
        self._checks = checks
        self._clock = clock

    async def from_owner(self, server: str, *, ignore_backoff: bool) -> ServerKeys | None:
        """What a server says of its own keys; None if it says nothing useful."""
        try:
            answer = await self._client.get(
                server,
                "/_matrix/key/v2/server",
                timeout_s=OWNER_TIMEOUT_S,
                limit_bytes=LIMIT_BYTES,
                ignore_backoff=ignore_backoff,
                signed=False,
            )
            return await self._checked(answer, server)
        except RemoteError as error:
            log.debug("no keys", server=server, reason=str(error))
        except BadServerKeys as error:
            log.warning("keys not accepted", server=server, reason=str(error))
        return None

    async def from_notary(
        self, notary: str, wanted: Mapping[str, Mapping[str, int]], signed_by: SignedBy
    ) -> list[ServerKeys]:
        """What a notary says of the keys of servers. `wanted`: servers, key ids, and up to when each must be valid."""
        found: list[ServerKeys] = []
        servers = list(wanted)
        for start in range(0, len(servers), SERVERS_PER_QUERY):
            part = {server: wanted[server] for server in servers[start : start + SERVERS_PER_QUERY]}
            try:
                answer = await self._client.post(
                    notary, "/_matrix/key/v2/query", body=_query(part), timeout_s=NOTARY_TIMEOUT_S, signed=False
                )
            except RemoteError as error:
                log.info("notary does not answer", notary=notary, reason=str(error))
                return found
            responses = answer.get("server_keys")
            for response in responses if isinstance(responses, list) else []:
                keys = await self._from_notary(notary, response, part, signed_by)
                if keys is not None:
                    found.append(keys)
        return found

    async def _from_notary(
        self, notary: str, response: JsonValue, asked: Mapping[str, Mapping[str, int]], signed_by: SignedBy
    ) -> ServerKeys | None:
        server = response.get("server_name") if isinstance(response, dict) else None
        if not isinstance(response, dict) or not isinstance(server, str) or server not in asked:
            return None
        try:
            await signed_by(notary, response)
            return await self._checked(response, server)
        except (BadServerKeys, BadSignature) as error:
            log.warning("keys not accepted", server=server, notary=notary, reason=str(error))
            return None

    async def _checked(self, response: JsonObject, server: str) -> ServerKeys:
        now_ms = self._clock.now_ms()
        return await self._checks.one(lambda: parse_server_keys(response, server, now_ms))


async def side_by_side(work: Sequence[Awaitable[object]]) -> None:
    """Wait for all; the first failure among them, if there is one, is raised at the end."""
    results: list[tuple[bool, Any]] = await DeferredList([_deferred(each) for each in work], consumeErrors=True)
    for succeeded, result in results:
        if not succeeded:
            result.raiseException()


def _deferred(work: Awaitable[object]) -> Deferred[object]:
    async def wait() -> object:
        return await work

    return Deferred.fromCoroutine(wait())


def _query(wanted: Mapping[str, Mapping[str, int]]) -> JsonObject:
    servers: JsonObject = {}
    for server, key_ids in wanted.items():
        servers[server] = {key_id: {"minimum_valid_until_ts": until_ts} for key_id, until_ts in key_ids.items()}
    return {"server_keys": servers}
