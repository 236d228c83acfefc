"""Tells other servers that devices and keys of local users changed.

Specification: server-server API, "Device Management", m.device_list_update and m.signing_key_update.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.outbound.news import UserNotice
from homeserver.core.canonical_json import JsonObject, encode
from homeserver.core.ids import ServerName
from homeserver.encryption.for_servers import DEVICE_LIST_UPDATE, KeysForServers
from homeserver.web.errors import NotFound
from storage import sending
from storage.database import Database
from storage.rows import DeviceListRow


class DeviceNews:
    """Makes the EDUs."""

    def __init__(self, keys: KeysForServers, database: Database, server_name: ServerName) -> None:
        self._keys = keys
        self._database = database
        self._server_name = server_name

    async def changed(self, row: DeviceListRow) -> Sequence[UserNotice]:
        """The notices for a change that was made just now."""
        if not row.user_id.endswith(f":{self._server_name}"):
            return ()
        # Each names the one before it, so none of them replaces another.
        return [
            UserNotice(row.user_id, f"devices {row.position} {number}", encode(update))
            for number, update in enumerate(await self._keys.updates(row))
        ]

    async def missed(self, server: str, after: int, upto: int) -> Sequence[bytes]:
        """For a server that was away: one notice for each user with changes. It sees the gap and asks for the list."""
        rows = await self._database.read(sending.device_lists_near, server, self._server_name, after, upto)
        found: list[bytes] = []
        for row in rows:
            try:
                known = await self._keys.devices(row.user_id)
            except NotFound:
                continue
            devices = known["devices"]
            first = devices[0] if isinstance(devices, list) and devices else None
            device: JsonObject = first if isinstance(first, dict) else {"device_id": "", "deleted": True}
            # What it builds upon is nothing that the server can have.
            content: JsonObject = {
                "user_id": row.user_id,
                "stream_id": row.position,
                "prev_id": [row.position],
                **device,
            }
            found.append(encode({"content": content, "edu_type": DEVICE_LIST_UPDATE}))
        return found
