"""One transaction to another server: some events and some EDUs in one request.

Specification: server-server API, "Transactions", PUT /_matrix/federation/v1/send/{txnId}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from federation.outbound.client import FederationClient, path
from homeserver.core.ids import ServerName
from homeserver.runtime.clock import Clock

MOST_PDUS: Final = 50
TIMEOUT_S: Final = 60.0

log: Final = structlog.get_logger("federation.sender")


class Transactions:
    """Sends transactions, each with an id of its own."""

    def __init__(self, client: FederationClient, clock: Clock, server_name: ServerName) -> None:
        self._client = client
        self._clock = clock
        self._origin = msgspec.json.encode(server_name)
        self._begun_ms = clock.now_ms()
        self._count = 0

    async def send(self, destination: str, pdus: Sequence[bytes], edus: Sequence[bytes]) -> None:
        """Send events and EDUs, encoded. Raises RemoteError where the server has not taken them."""
        self._count += 1
        txn_id = f"{self._begun_ms}-{self._count}"
        body = b'{"edus":[%s],"origin":%s,"origin_server_ts":%d,"pdus":[%s]}' % (
            b",".join(edus),
            self._origin,
            self._clock.now_ms(),
            b",".join(pdus),
        )
        answer = await self._client.put(
            destination, path("/_matrix/federation/v1/send/{}", txn_id), None, body, timeout_s=TIMEOUT_S
        )
        results = answer.get("pdus")
        for event_id, result in results.items() if isinstance(results, dict) else ():
            if isinstance(result, dict) and "error" in result:
                # Theirs to decide: sending it again would not change their mind.
                log.info(
                    "a server refused an event", destination=destination, event_id=event_id, reason=result["error"]
                )
