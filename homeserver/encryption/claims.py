"""One-time keys are given out, each once. Specification: client-server API, POST /keys/claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import structlog
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.encryption.remote import RemoteKeys, RemoteKeysFailed
from homeserver.encryption.servers import by_server, failure
from homeserver.runtime.log import Writer
from storage import one_time_keys as one_time_key_table
from storage.database import Database
from storage.one_time_keys import Claim, Claimed
from storage.rows import KeyCountsRow

log = structlog.get_logger("homeserver.encryption")

Wanted = Mapping[str, Mapping[str, str]]
"""User id → device id → algorithm."""


class KeyClaims:
    """Gives one-time keys out."""

    def __init__(self, database: Database, writer: Writer, remote: RemoteKeys, server_name: ServerName) -> None:
        self._database = database
        self._writer = writer
        self._remote = remote
        self._server_name = server_name

    async def claim(self, wanted: Wanted, timeout_ms: int) -> JsonObject:
        """Keys of local and remote devices, and which servers failed."""
        local, elsewhere = by_server(wanted, self._server_name)
        found: JsonObject = {}
        failures: JsonObject = {}

        async def ask(server_name: str, users: Wanted) -> None:
            try:
                answer = (await self._remote.claim(server_name, users, timeout_ms)).get("one_time_keys")
                if not isinstance(answer, dict):
                    raise RemoteKeysFailed("The other server's answer makes no sense.")
            except RemoteKeysFailed as error:
                failures[server_name] = failure(error)
            else:
                # Only what was asked for: a server speaks for its own users.
                found.update({user_id: keys for user_id, keys in answer.items() if user_id in users})

        asked = [Deferred.fromCoroutine(ask(server_name, users)) for server_name, users in elsewhere.items()]
        found.update(await self.claim_local(local))
        await gatherResults(asked, consumeErrors=True)
        return {"one_time_keys": found, "failures": failures}

    async def claim_local(self, wanted: Wanted) -> JsonObject:
        """Keys of local devices: user id → device id → name → key. Also what other servers get."""
        claims = [
            Claim(user_id, device_id, algorithm)
            for user_id, devices in wanted.items()
            for device_id, algorithm in devices.items()
        ]
        if not claims:
            return {}
        claimed = await self._database.write(one_time_key_table.claim, claims)
        if claimed:
            await self._writer.append(_news(claimed))
        found: dict[str, JsonObject] = {}
        for each in claimed:
            keys = found.setdefault(each.claim.user_id, {})
            keys[each.claim.device_id] = {each.key.name: msgspec.json.decode(each.key.json)}
        return dict(found)


def _news(claimed: Sequence[Claimed]) -> list[KeyCountsRow]:
    """One entry for a device; it hears at once of the first use of its fallback key, which it should replace."""
    urgent = {each.device: False for each in claimed}
    for each in claimed:
        urgent[each.device] |= each.is_first_use
    users = {each.device: each.claim.user_id for each in claimed}
    return [KeyCountsRow(users[device], device, is_urgent) for device, is_urgent in urgent.items()]
