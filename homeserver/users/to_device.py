"""Messages from device to device. Specification: client-server API, "Send-to-Device messaging"."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
from twisted.internet.defer import Deferred

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import InvalidId, ServerName, is_plain_user_of, parse_user_id, server_name_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.lru import Lru
from homeserver.users.device_numbers import DeviceNumbers
from homeserver.users.late_writes import LateWrites
from homeserver.web.access import Requester
from homeserver.web.errors import InvalidParam
from storage import device_transactions as transaction_table
from storage import devices as device_table
from storage.database import Cursor, Database
from storage.rows import ToDeviceRow

EVERY_DEVICE: Final = "*"
MAX_KNOWN: Final = 50_000
MAX_PATH: Final = 200

Messages = Mapping[str, Mapping[str, JsonObject]]
"""User id → device id (or EVERY_DEVICE) → content."""

_Key = tuple[int, str, str]
"""Device, user and transaction."""


class RemoteDevices(Protocol):
    """Brings messages to the devices of other servers' users."""

    async def send(self, sender: str, type: str, message_id: str, messages: Messages) -> None:
        """Take the messages over, durably. Bears a repeat with the same message id."""
        ...


class ToDevice:
    """Sends messages to devices. A repeated transaction sends nothing again."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        ring: Ring,
        clock: Clock,
        server_name: ServerName,
        devices: DeviceNumbers,
        remote: RemoteDevices | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._server_name = server_name
        self._devices = devices
        self._remote = remote
        self._done: Lru[_Key, bool] = Lru(MAX_KNOWN)
        self._under_way: dict[_Key, list[Deferred[None]]] = {}
        self._late: LateWrites[_Key] = LateWrites(
            writer, ring, ToDeviceRow, written=lambda key: self._done.put(key, True)
        )

    async def send(self, who: Requester, type: str, transaction: str, messages: Messages) -> None:
        """Send messages once for each transaction of a device. PUT /sendToDevice/{eventType}/{txnId}."""
        # A device number of 0 is that of all bridges, so the user belongs to the key.
        key = (who.device_number, who.user_id, _short(transaction))
        if self._done.get(key):
            return
        self._late.check(key)
        waiting = self._under_way.get(key)
        if waiting is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
            return
        waiting = self._under_way[key] = []
        try:
            await self._send(who, type, key, messages)
        except Exception as failure:
            for each in waiting:
                each.errback(failure)
            raise
        else:
            self._done.put(key, True)
            for each in waiting:
                each.callback(None)
        finally:
            del self._under_way[key]

    async def _send(self, who: Requester, type: str, key: _Key, messages: Messages) -> None:
        path = key[2]
        local, elsewhere = self._by_place(messages)
        named = [(user_id, device_id) for user_id, contents in local.items() for device_id in contents]
        numbers = await self._devices.of(name for name in named if name[1] != EVERY_DEVICE)
        whole_users = [user_id for user_id, contents in local.items() if EVERY_DEVICE in contents]
        is_known, devices = await self._database.read(_look, who.device_number, path, whole_users)
        if is_known:
            return
        if elsewhere and self._remote is not None:
            await self._remote.send(who.user_id, type, f"{who.device_number}-{path}", elsewhere)
        for user_id, device_id, device in devices:
            numbers.setdefault((user_id, device_id), device)
        end = b',"sender":%s,"type":%s}' % (msgspec.json.encode(who.user_id), msgspec.json.encode(type))
        rows = []
        for (user_id, device_id), device in numbers.items():
            contents = local[user_id]
            content = contents[device_id] if device_id in contents else contents[EVERY_DEVICE]
            rows.append(ToDeviceRow(user_id, device, b'{"content":%s%s' % (msgspec.json.encode(content), end)))
        now_ms = self._clock.now_ms()
        await self._late.append(
            key, rows, also=[lambda tx: transaction_table.note(tx, who.device_number, path, now_ms)]
        )

    def _by_place(self, messages: Messages) -> tuple[dict[str, Mapping[str, JsonObject]], Messages]:
        """What is for users of this server, and for others."""
        local: dict[str, Mapping[str, JsonObject]] = {}
        elsewhere: dict[str, Mapping[str, JsonObject]] = {}
        for user_id, contents in messages.items():
            if is_plain_user_of(user_id, self._server_name):
                local[user_id] = contents
                continue
            try:
                server = server_name_of(parse_user_id(user_id))
            except InvalidId as error:
                raise InvalidParam(f"messages: {error}.") from None
            (local if server == self._server_name else elsewhere)[user_id] = contents
        return local, elsewhere


def _look(tx: Cursor, device: int, path: str, user_ids: list[str]) -> tuple[bool, list[tuple[str, str, int]]]:
    """Whether this was done before; and the devices of the users."""
    if transaction_table.is_known(tx, device, path):
        return True, []
    return False, device_table.of_users(tx, user_ids) if user_ids else []


def _short(transaction: str) -> str:
    """The transaction in a form that an index can hold, however long a client made it."""
    if len(transaction) <= MAX_PATH:
        return transaction
    return f"sha256 {hashlib.sha256(transaction.encode('utf-8', 'surrogateescape')).hexdigest()}"
