"""Users publish the keys that vouch for their devices, and signatures on keys.

Specification: client-server API, "Cross-signing", POST /keys/device_signing/upload, POST /keys/signatures/upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.device_keys import (
    MASTER,
    SELF_SIGNING,
    USER_SIGNING,
    BadKeys,
    UserKey,
    check_user_key,
    verify_user_key,
)
from homeserver.encryption.refusals import refusing_bad_keys
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Writer
from homeserver.runtime.lru import Lru
from homeserver.users.credentials import Credentials
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden, MissingParam, NotFound
from storage import cross_signing as cross_signing_table
from storage import devices as device_table
from storage.cross_signing import CrossSigningKey
from storage.database import Cursor, Database
from storage.rows import DeviceListRow
from storage.statements import Statements

ORDER: Final = (MASTER, SELF_SIGNING, USER_SIGNING)
ALLOWED_MS: Final = 10 * 60_000
MOST_ALLOWED: Final = 10_000


class CrossSigning:
    """Takes the cross-signing keys of users."""

    def __init__(self, database: Database, writer: Writer, credentials: Credentials, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._credentials = credentials
        self._clock = clock
        self._allowed: Lru[str, int] = Lru(MOST_ALLOWED)
        """User → until when other keys need no confirmation. In memory: it is for some minutes."""

    async def upload(self, who: Requester, keys: Mapping[str, JsonObject | None], auth: JsonValue) -> None:
        """Keep keys by their usage, once the user has confirmed that they replace others."""
        user_id = who.user_id
        with refusing_bad_keys():
            given = [check_user_key(value, user_id, usage) for usage in ORDER if (value := keys.get(usage)) is not None]
            known, verified = await self._database.read(_check, user_id, given)
        new = [key for key in verified if key.usage not in known or known[key.usage].json != key.json]
        replaces = any(key.usage not in known or known[key.usage].public_key != key.public_key for key in given)
        if not new:
            return
        session = None
        # The first keys need no password; neither does a repeat, whose answer the client may not have got.
        if MASTER in known and replaces and self._clock.now_ms() >= (self._allowed.get(user_id) or 0):
            session = await self._credentials.confirm(who, auth, "upload cross-signing keys")
        void = _void(known, given)

        def change(tx: Statements) -> None:
            cross_signing_table.delete_keys(tx, user_id, void)
            for key in new:
                cross_signing_table.put_key(tx, CrossSigningKey(user_id, key.usage, key.public_key, key.json))

        await self._writer.append([DeviceListRow(user_id)], also=[change])
        self._credentials.done(session)
        self._allowed.discard(user_id)

    async def allow_replacement(self, user_id: str) -> int:
        """Let a user take other keys once without confirmation, for some minutes; until when.

        For those who cannot confirm it, as the admin knows. Raises NotFound for who has no keys: the first need none.
        """
        if not await self.has_keys(user_id):
            raise NotFound("There is no such user, or they have no cross-signing keys.")
        until_ms = self._clock.now_ms() + ALLOWED_MS
        self._allowed.put(user_id, until_ms)
        return until_ms

    async def has_keys(self, user_id: str) -> bool:
        """Whether a user has set cross-signing up."""
        keys = await self._database.read(cross_signing_table.keys_of, [user_id])
        return any(key.usage == MASTER for key in keys)


def _check(tx: Cursor, user_id: str, given: list[UserKey]) -> tuple[dict[str, CrossSigningKey], list[UserKey]]:
    """The keys that the user has, and those given, found to be signed. Raises BadSignature, BadKeys, MatrixError."""
    known = {key.usage: key for key in cross_signing_table.keys_of(tx, [user_id])}
    master = next((key.public_key for key in given if key.usage == MASTER), None)
    if master is None and MASTER in known:
        master = known[MASTER].public_key
    device_ids = {device.device_id for device in device_table.of_user(tx, user_id)}
    for key in given:
        if key.public_key in device_ids:
            raise Forbidden("One of your devices is called like this key: use another key.")
        if key.usage != MASTER:
            if master is None:
                raise MissingParam("There is no master key to sign the others: upload master_key first, or with them.")
            verify_user_key(key, master)
    if len({key.public_key for key in given}) < len(given):
        raise BadKeys("Each usage needs a key of its own.")
    return known, given


def _void(known: Mapping[str, CrossSigningKey], given: list[UserKey]) -> list[str]:
    """Another master key makes those void that the one before had signed, unless they come with it."""
    usages = {key.usage for key in given}
    master = next((key.public_key for key in given if key.usage == MASTER), None)
    if master is None or MASTER not in known or known[MASTER].public_key == master:
        return []
    return [usage for usage in (SELF_SIGNING, USER_SIGNING) if usage in known and usage not in usages]
