"""Messages to devices of other servers' users: written to the log, from where the sender takes them.

Specification: server-server API, "Send-to-device messaging", m.direct_to_device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject, encode_lenient
from homeserver.core.ids import server_name_of
from homeserver.runtime.writer import Writer
from storage.rows import OutboundMessageRow

MAX_MESSAGE_ID: Final = 32
"""Characters, as the specification has it."""


class DeviceMessages:
    """Takes messages over."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def send(
        self, sender: str, type: str, message_id: str, messages: Mapping[str, Mapping[str, JsonObject]]
    ) -> None:
        """Have messages delivered: user id → device id (or *) → content. Who gets the same id twice takes one."""
        if len(message_id) > MAX_MESSAGE_ID:
            message_id = hashlib.sha256(message_id.encode("utf-8", "surrogateescape")).hexdigest()[:MAX_MESSAGE_ID]
        by_server: dict[str, dict[str, Mapping[str, JsonObject]]] = {}
        for user_id, devices in messages.items():
            by_server.setdefault(server_name_of(user_id), {})[user_id] = devices
        rows = []
        for server, users in by_server.items():
            content = {"message_id": message_id, "messages": users, "sender": sender, "type": type}
            plain: JsonObject = msgspec.to_builtins({"content": content, "edu_type": "m.direct_to_device"})
            rows.append(OutboundMessageRow(server, encode_lenient(plain)))
        await self._writer.append(rows)
