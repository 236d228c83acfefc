"""Tells other servers that devices and keys of local users changed.

Specification: server-server API, "Device Management", m.device_list_update and m.signing_key_update.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.outbound.news import UserNotice
from homeserver.core.canonical_json import JsonObject, encode
from homeserver.core.ids import ServerName
from homeserver.encryption.for_servers import DEVICE_LIST_UPDATE, SIGNING_KEY_UPDATE, KeysForServers
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

    async def introduction(self, user_id: str) -> Sequence[bytes]:
        """What a server must hear that meets a user, or may have missed something: it finds the rest by itself.

        It sees a gap, unless it has that stream_id, and asks for the list; the keys of the user have no such number.
        """
        try:
            known = await self._keys.devices(user_id)
        except NotFound:
            return ()
        found: list[bytes] = []
        stream_id, devices = known["stream_id"], known["devices"]
        if stream_id:
            first = devices[0] if isinstance(devices, list) and devices else None
            device: JsonObject = first if isinstance(first, dict) else {"device_id": "", "deleted": True}
            # What it builds upon is nothing that the server can have, unless it has all.
            content: JsonObject = {"user_id": user_id, "stream_id": stream_id, "prev_id": [stream_id], **device}
            found.append(encode({"content": content, "edu_type": DEVICE_LIST_UPDATE}))
        keys: JsonObject = {name: value for name, value in known.items() if name in ("master_key", "self_signing_key")}
        if keys:
            found.append(encode({"content": {"user_id": user_id, **keys}, "edu_type": SIGNING_KEY_UPDATE}))
        return found

    async def missed(self, server: str, after: int, upto: int) -> Sequence[bytes]:
        """For a server that was away: those whose devices changed, and who came into a room with it."""
        users = await self._database.read(sending.lists_for_server, server, self._server_name, after, upto)
        return [edu for user_id in users for edu in await self.introduction(user_id)]
