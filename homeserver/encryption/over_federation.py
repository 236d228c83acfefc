"""Keys of other servers' users, asked of their servers. Server-server API, "End-to-End Encryption"."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred

from federation.outbound.errors import RemoteError
from federation.outbound.queries import Queries
from homeserver.core.canonical_json import JsonObject
from homeserver.encryption.remote import RemoteKeysFailed
from homeserver.runtime.clock import Clock


class FederatedKeys:
    """`RemoteKeys` over the server-server API."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    async def query(self, server_name: str, device_keys: Mapping[str, Sequence[str]], timeout_ms: int) -> JsonObject:
        """POST /user/keys/query."""
        wanted: JsonObject = {user_id: list(devices) for user_id, devices in device_keys.items()}
        return await self._within(timeout_ms, self._queries.query_keys(server_name, wanted))

    async def claim(
        self, server_name: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> JsonObject:
        """POST /user/keys/claim."""
        wanted: JsonObject = {user_id: dict(devices) for user_id, devices in one_time_keys.items()}
        return await self._within(timeout_ms, self._queries.claim_keys(server_name, wanted))

    async def devices(self, user_id: str) -> JsonObject:
        """GET /user/devices/{userId}."""
        try:
            return await self._queries.user_devices(user_id)
        except RemoteError as error:
            raise RemoteKeysFailed(error.message) from None

    async def _within(self, timeout_ms: int, request: Awaitable[JsonObject]) -> JsonObject:
        """The answer, if it comes in the time that the client is ready to wait."""

        async def asked() -> JsonObject:
            return await request

        answer = Deferred.fromCoroutine(asked())
        timer = self._clock.call_later(timeout_ms / 1000, answer.cancel)
        try:
            return await answer
        except CancelledError:
            raise RemoteKeysFailed("The other server did not answer in time.") from None
        except RemoteError as error:
            raise RemoteKeysFailed(error.message) from None
        finally:
            timer.cancel()
