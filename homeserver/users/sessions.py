"""Logging devices in and out: a device gets its tokens, has them renewed, and loses them.

Specification: client-server API, "Relationship between access tokens and devices", "Refreshing access tokens".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring, Writer
from homeserver.users.new_devices import NewDevices
from homeserver.users.secret_tokens import ACCESS, REFRESH, new_device_id, new_token
from homeserver.users.tokens import Tokens
from homeserver.web.access import Requester, hash_token
from homeserver.web.errors import InvalidParam, UnknownToken
from storage import device_keys as device_key_table
from storage import devices as device_table
from storage import one_time_keys as one_time_key_table
from storage import to_device as to_device_table
from storage import tokens as token_table
from storage.database import Cursor, Database
from storage.rows import DeviceListRow, Entry
from storage.statements import Statements

LIFETIME_MS: Final = 15 * 60 * 1000
"""How long the access tokens live that can be refreshed. Others do not expire."""
MAX_NAME: Final = 255


class SessionAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client that has logged in or registered is told."""

    user_id: str
    home_server: str
    access_token: str | None = None
    device_id: str | None = None
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class RefreshAnswer(msgspec.Struct, frozen=True):
    """What a client gets for a refresh token."""

    access_token: str
    refresh_token: str
    expires_in_ms: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A device and its tokens, about to be written."""

    user_id: str
    device_id: str
    display_name: str | None
    access_token: str
    refresh_token: str | None
    created_ms: int
    lifetime_ms: int | None

    def answer(self, server_name: str) -> SessionAnswer:
        """What the client is told once it is written."""
        return SessionAnswer(
            self.user_id, server_name, self.access_token, self.device_id, self.refresh_token, self.lifetime_ms
        )


class WrittenSession(NamedTuple):
    """The device of a session, and whether it was made with it."""

    device: int
    is_new: bool


class Sessions:
    """Gives devices their tokens and takes them back."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        ring: Ring,
        tokens: Tokens,
        new_devices: NewDevices,
        clock: Clock,
        lifetime_ms: int = LIFETIME_MS,
    ) -> None:
        self._database = database
        self._writer = writer
        self._tokens = tokens
        self._new_devices = new_devices
        self._clock = clock
        self._lifetime_ms = lifetime_ms
        self._leaving: dict[Entry, Sequence[int]] = {}
        """Devices whose deletion is on its way to the database, by the entry that goes with it."""
        ring.subscribe(self._published)
        writer.on_failure(self._not_written)

    def prepare(
        self, user_id: str, device_id: str | None, display_name: str | None, *, refreshable: bool = False
    ) -> NewSession:
        """A session for a device, old or new. Write it with `write_session`, and then call `written`."""
        for name, value in (("device_id", device_id), ("initial_device_display_name", display_name)):
            if value is not None and len(value) > MAX_NAME:
                raise InvalidParam(f"{name} may have at most {MAX_NAME} characters.")
        return NewSession(
            user_id,
            device_id or new_device_id(),
            display_name,
            new_token(ACCESS),
            new_token(REFRESH) if refreshable else None,
            self._clock.now_ms(),
            self._lifetime_ms if refreshable else None,
        )

    def written(self, session: WrittenSession) -> None:
        """A session was committed: the older tokens of its device hold no more."""
        if session.is_new:
            self._new_devices.made(session.device)
        self._tokens.revoked([session.device])

    async def refresh(self, refresh_token: str) -> RefreshAnswer:
        """New tokens for a refresh token. POST /refresh."""
        access_token, following = new_token(ACCESS), new_token(REFRESH)
        now_ms = self._clock.now_ms()
        ended = await self._database.write(
            _refresh,
            hash_token(refresh_token),
            hash_token(access_token),
            hash_token(following),
            now_ms,
            self._lifetime_ms,
        )
        if ended is None:
            raise UnknownToken("This refresh token is not known here, or was used: log in again.")
        self._tokens.forget(ended)
        return RefreshAnswer(access_token, following, self._lifetime_ms)

    async def log_out(self, who: Requester) -> None:
        """End the session that asks; its device goes with it. POST /logout."""
        await self.delete_devices(who.user_id, {who.device_number: who.device_id})

    async def log_out_everywhere(self, user_id: str, *, but: int | None = None) -> None:
        """Delete all devices of a user, or all but one. POST /logout/all."""
        devices = await self._database.read(device_table.of_user, user_id)
        await self.delete_devices(user_id, {each.device: each.device_id for each in devices if each.device != but})

    async def end(self, user_id: str) -> None:
        """The account is closed: all devices go, and others learn that this user's keys are gone."""
        await self.log_out_everywhere(user_id)
        await self._writer.append([DeviceListRow(user_id)])

    async def delete_devices(self, user_id: str, devices: Mapping[int, str | None]) -> None:
        """Delete devices, by number and id, with all that is theirs; others learn that the user's devices changed."""
        if devices:
            numbers = list(devices)
            entries = [DeviceListRow(user_id, device_id) for device_id in devices.values()]
            committed = self._writer.append(entries, also=[lambda tx: delete_devices(tx, numbers)])
            self._leaving[entries[-1]] = numbers
            await committed

    def _published(self, entries: Sequence[Entry]) -> None:
        """Devices are gone once that is committed, also where that took so long that nobody waits for it any more."""
        for entry in entries if self._leaving else ():
            devices = self._leaving.pop(entry, None)
            if devices is not None:
                self._tokens.revoked(devices)

    def _not_written(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._leaving.pop(entry, None)


def delete_devices(tx: Statements, devices: Sequence[int]) -> None:
    """Delete devices, their keys, and the messages to them, in the transaction that tells others."""
    device_table.delete(tx, devices)
    device_key_table.delete_of(tx, devices)
    one_time_key_table.delete_of(tx, devices)
    to_device_table.delete_of(tx, devices)


def write_session(tx: Cursor, new: NewSession) -> WrittenSession:
    """Write a session in the transaction that allows it."""
    device, is_new = device_table.put(tx, new.user_id, new.device_id, new.display_name, new.created_ms)
    if not is_new:
        # Client-server API, POST /login: older tokens of the device are invalidated.
        token_table.delete_of_device(tx, device)
    expires_ms = None if new.lifetime_ms is None else new.created_ms + new.lifetime_ms
    access_token = hash_token(new.access_token)
    token_table.insert(tx, access_token, new.user_id, device, new.created_ms, expires_ms)
    if new.refresh_token is not None:
        token_table.insert_refresh(tx, hash_token(new.refresh_token), device, new.created_ms, access_token)
    return WrittenSession(device, is_new)


def _refresh(
    tx: Cursor, token_hash: bytes, access_token: bytes, following: bytes, now_ms: int, lifetime_ms: int
) -> list[bytes] | None:
    """Hashes of access tokens that hold no more; None if there is no such refresh token."""
    found = token_table.refresh(tx, token_hash)
    if found is None:
        return None
    ended = token_table.delete_replaced_by(tx, found.device, token_hash)
    if found.replaced_by is not None:
        # The answer to the first try was lost, so what it gave out was never used.
        ended += token_table.delete_unused(tx, found.device, found.replaced_by)
    token_table.insert(tx, access_token, found.user_id, found.device, now_ms, now_ms + lifetime_ms)
    token_table.insert_refresh(tx, following, found.device, now_ms, access_token)
    token_table.replace_refresh(tx, token_hash, following)
    return ended
