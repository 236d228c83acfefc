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
from homeserver.encryption.stock import OneTimeKeyStock
from homeserver.runtime.log import Writer
from homeserver.users.device_numbers import DeviceNumbers
from storage import one_time_keys as one_time_key_table
from storage.database import Database
from storage.one_time_keys import Claim, Given
from storage.rows import KeyCountsRow

log = structlog.get_logger("homeserver.encryption")

Wanted = Mapping[str, Mapping[str, str]]
"""User id → device id → algorithm."""


class KeyClaims:
    """Gives one-time keys out."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        stock: OneTimeKeyStock,
        devices: DeviceNumbers,
        remote: RemoteKeys,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._writer = writer
        self._stock = stock
        self._devices = devices
        self._remote = remote
        self._server_name = server_name

    async def claim(self, wanted: Wanted, timeout_ms: int) -> dict[str, object]:
        """Keys of local and remote devices, and which servers failed."""
        local, elsewhere = by_server(wanted, self._server_name)
        found: dict[str, object] = {}
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

    async def claim_local(self, wanted: Wanted) -> dict[str, object]:
        """Keys of local devices: user id → device id → name → key. Also what other servers get."""
        names = [(user_id, device_id) for user_id, devices in wanted.items() for device_id in devices]
        if not names:
            return {}
        numbers = await self._devices.of(names)
        held = await self._stock.load(numbers.values())
        # From here to the writer of the log nothing is waited for: what one takes, nobody else does.
        found: dict[str, dict[str, dict[str, msgspec.Raw]]] = {}
        users: dict[int, str] = {}
        given: list[Given] = []
        rest: list[tuple[int, Claim]] = []
        for (user_id, device_id), device in numbers.items():
            algorithm = wanted[user_id][device_id]
            taken = held[device].take(algorithm)
            if taken is None:
                rest.append((device, Claim(user_id, device_id, algorithm)))
                continue
            name, json, number, count = taken
            found.setdefault(user_id, {})[device_id] = {name: json}
            given.append((device, number, count))
            users[device] = user_id
        if given:
            await self._stock.give(users, given, held)
        if rest:
            await self._claim_fallback(rest, found)
        return dict(found)

    async def _claim_fallback(
        self, rest: Sequence[tuple[int, Claim]], found: dict[str, dict[str, dict[str, msgspec.Raw]]]
    ) -> None:
        """For devices whose one-time keys are used up."""
        claimed = await self._database.write(one_time_key_table.claim_fallback, rest)
        # A device hears at once of the first use of its fallback key, which it should replace.
        used = {each.device: each.claim.user_id for each in claimed if each.is_first_use}
        if used:
            await self._writer.append([KeyCountsRow(used, is_urgent=True)])
        for each in claimed:
            keys = found.setdefault(each.claim.user_id, {})
            keys[each.claim.device_id] = {each.key.name: msgspec.Raw(each.key.json)}
