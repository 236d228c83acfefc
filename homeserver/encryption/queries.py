"""The keys of users and their devices are looked up. Specification: client-server API, POST /keys/query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.canonical_json import JsonObject
from homeserver.core.device_keys import MASTER, SELF_SIGNING, of_own
from homeserver.core.ids import ServerName
from homeserver.encryption.local_keys import FoundKeys, read_local_keys, read_signatures, signed
from homeserver.encryption.published import Answer, PublishedKeysCache, add_published
from homeserver.encryption.remote import RemoteKeys, RemoteKeysFailed
from homeserver.encryption.remote_lists import RemoteLists
from homeserver.encryption.servers import by_server, failure
from storage.database import Database

Wanted = Mapping[str, Sequence[str]]
"""User id → device ids; none: all of them."""

_SECTIONS = {MASTER: "master_keys", SELF_SIGNING: "self_signing_keys"}


class KeyQueries:
    """Looks keys up: those of local users in the tables, those of others in the lists that we follow, or far away."""

    def __init__(
        self,
        database: Database,
        published: PublishedKeysCache,
        remote: RemoteKeys,
        lists: RemoteLists,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._published = published
        self._remote = remote
        self._lists = lists
        self._server_name = server_name

    async def query(self, reader: str, wanted: Wanted, timeout_ms: int) -> dict[str, object]:
        """The keys that a local user may see, and which servers failed."""
        local, elsewhere = by_server(wanted, self._server_name)
        found = FoundKeys()
        signed_users = (await self._published.signed_by(reader)).intersection(local)
        if signed_users:
            # Nobody else sees these signatures.
            found = await self._database.read(read_local_keys, {each: local.pop(each) for each in signed_users}, reader)
        failures: JsonObject = {}
        if elsewhere:
            users = {user_id: devices for users in elsewhere.values() for user_id, devices in users.items()}
            kept = await self._lists.read(users, found)
            asked = [
                Deferred.fromCoroutine(self._ask(server_name, missing, timeout_ms, found, failures))
                for server_name, theirs in elsewhere.items()
                if (missing := {user_id: devices for user_id, devices in theirs.items() if user_id not in kept})
            ]
            await gatherResults(asked, consumeErrors=True)
            await self._add_own_signatures(reader, found, list(users))
        answer: Answer = {
            "device_keys": {**found.device_keys},
            "master_keys": {**found.master_keys},
            "self_signing_keys": {**found.self_signing_keys},
            "user_signing_keys": {**found.user_signing_keys},
        }
        published = await self._published.of(local)
        add_published(answer, published, local)
        if reader in published and published[reader].user_signing is not None:
            answer["user_signing_keys"][reader] = published[reader].user_signing
        return {**answer, "failures": failures}

    async def query_for_server(self, wanted: Wanted) -> dict[str, object]:
        """The keys of local users that other servers may see. Server-server API, POST /user/keys/query."""
        local, _ = by_server(wanted, self._server_name)
        answer: Answer = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
        add_published(answer, await self._published.of(local), local)
        return {**answer}

    async def _ask(
        self, server_name: str, users: Wanted, timeout_ms: int, found: FoundKeys, failures: JsonObject
    ) -> None:
        # Who is in a room with us is followed from now on; others are asked for each time.
        near = await self._lists.near(users)
        rest = {user_id: devices for user_id, devices in users.items() if user_id not in near}

        async def begin() -> None:
            try:
                await self._lists.begin(near, timeout_ms)
            except RemoteKeysFailed as error:
                failures[server_name] = failure(error)
            await self._lists.read({user_id: users[user_id] for user_id in near}, found)

        async def ask() -> None:
            try:
                _take(await self._remote.query(server_name, rest, timeout_ms), rest, found)
            except RemoteKeysFailed as error:
                failures[server_name] = failure(error)

        asked = [Deferred.fromCoroutine(each()) for each, whom in ((begin, near), (ask, rest)) if whom]
        await gatherResults(asked, consumeErrors=True)

    async def _add_own_signatures(self, reader: str, found: FoundKeys, user_ids: Sequence[str]) -> None:
        """Signatures of the reader on keys of other servers' users are kept here."""
        signatures = await self._database.read(read_signatures, user_ids, reader)
        for user_id, key_id in signatures:
            master = found.master_keys.get(user_id)
            keys = master.get("keys") if isinstance(master, dict) else None
            if isinstance(master, dict) and isinstance(keys, dict) and f"ed25519:{key_id}" in keys:
                found.master_keys[user_id] = signed(master, signatures[user_id, key_id])


def _take(answer: JsonObject, users: Wanted, found: FoundKeys) -> None:
    """Of another server's answer only what was asked for: it speaks for its own users."""
    devices = answer.get("device_keys")
    if not isinstance(devices, dict):
        raise RemoteKeysFailed("The other server's answer makes no sense.")
    for user_id, theirs in devices.items():
        if user_id in users and isinstance(theirs, dict):
            found.device_keys[user_id] = {
                device_id: {**of_own(keys, user_id), "unsigned": keys.get("unsigned", {})}
                for device_id, keys in theirs.items()
                if isinstance(keys, dict) and (not users[user_id] or device_id in users[user_id])
            }
    for usage, section in _SECTIONS.items():
        keys = answer.get(section)
        for user_id, key in keys.items() if isinstance(keys, dict) else ():
            if user_id in users and isinstance(key, dict):
                found.add_user_key(user_id, usage, of_own(key, user_id))
