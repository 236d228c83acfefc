"""Messages to devices from other servers. Specification: server-server API, "Send-to-device messaging"."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
import structlog

from homeserver.core.canonical_json import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.turns import Turns
from homeserver.users.late_writes import LateWrites
from homeserver.users.to_device import EVERY_DEVICE
from storage import devices as device_table
from storage import received_messages as received_table
from storage.database import Cursor, Database
from storage.rows import Entry, ToDeviceRow

MAX_ID: Final = 200
MAX_TYPE_BYTES: Final = 255

_Key = tuple[str, str]
"""Server and message id."""

log: Final = structlog.get_logger("homeserver.users")


class ReceivedMessages:
    """Takes m.direct_to_device. Each message id of a server counts once."""

    def __init__(self, database: Database, writer: Writer, ring: Ring, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turns: Turns[_Key] = Turns()
        self._late: LateWrites[_Key] = LateWrites(writer, ring, ToDeviceRow)

    async def __call__(self, origin: str, content: JsonObject) -> None:
        """Put the messages into the queues of their devices."""
        sender, kind, message_id = content.get("sender"), content.get("type"), content.get("message_id")
        messages = content.get("messages")
        if (
            not isinstance(sender, str)
            or not sender.endswith(f":{origin}")
            or not isinstance(kind, str)
            or len(kind.encode()) > MAX_TYPE_BYTES
            or not isinstance(message_id, str)
            or not isinstance(messages, dict)
        ):
            log.info("messages to devices make no sense", origin=origin)
            return
        key = (origin, _short(message_id))
        async with self._turns.at(key):
            await self._take(key, sender, kind, messages)

    async def _take(self, key: _Key, sender: str, kind: str, messages: JsonObject) -> None:
        self._late.check(key)
        # Only names that can be names of ours: a text of the database cannot hold all that JSON can.
        named = [user_id for user_id in messages if "\0" not in user_id]
        is_known, devices = await self._database.read(_look, *key, named)
        if is_known:
            return
        rows: list[Entry] = []
        for user_id, device_id, device in devices:
            contents = messages[user_id]
            content = contents.get(device_id, contents.get(EVERY_DEVICE)) if isinstance(contents, dict) else None
            if isinstance(content, dict):
                json = msgspec.json.encode({"content": content, "sender": sender, "type": kind})
                rows.append(ToDeviceRow(user_id, device, json))
        now_ms = self._clock.now_ms()
        await self._late.append(key, rows, also=[lambda tx: received_table.note(tx, *key, now_ms)])


def _look(tx: Cursor, origin: str, message_id: str, user_ids: list[str]) -> tuple[bool, list[tuple[str, str, int]]]:
    """Whether this came before; and the devices of the users that are ours."""
    if received_table.is_known(tx, origin, message_id):
        return True, []
    return False, device_table.of_users(tx, user_ids)


def _short(message_id: str) -> str:
    """In a form that an index can hold."""
    if len(message_id) <= MAX_ID and "\0" not in message_id:
        return message_id
    return f"sha256 {hashlib.sha256(message_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
