"""What other servers may read of the keys and devices of local users, and how they are told of changes.

Specification: server-server API, "Device Management", "End-to-End Encryption".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.core.canonical_json import JsonObject
from homeserver.core.device_keys import MASTER, SELF_SIGNING
from homeserver.core.ids import ServerName
from homeserver.encryption.claims import KeyClaims
from homeserver.encryption.local_keys import read_local_keys
from homeserver.encryption.queries import KeyQueries
from homeserver.encryption.servers import by_server
from homeserver.web.errors import NotFound
from storage import accounts as account_table
from storage import device_lists as device_list_table
from storage import devices as device_table
from storage.database import Cursor, Database
from storage.rows import DeviceListRow

DEVICE_LIST_UPDATE = "m.device_list_update"
SIGNING_KEY_UPDATE = "m.signing_key_update"


class KeysForServers:
    """Answers other servers. Users that are not local are left out of the answers."""

    def __init__(self, database: Database, queries: KeyQueries, claims: KeyClaims, server_name: ServerName) -> None:
        self._database = database
        self._queries = queries
        self._claims = claims
        self._server_name = server_name

    async def query(self, device_keys: Mapping[str, Sequence[str]]) -> dict[str, object]:
        """POST /_matrix/federation/v1/user/keys/query."""
        return await self._queries.query_for_server(device_keys)

    async def claim(self, one_time_keys: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
        """POST /_matrix/federation/v1/user/keys/claim."""
        local, _ = by_server(one_time_keys, self._server_name)
        return {"one_time_keys": await self._claims.claim_local(local)}

    async def devices(self, user_id: str) -> JsonObject:
        """GET /_matrix/federation/v1/user/devices/{userId}. Raises NotFound for who has no account here."""
        answer = await self._database.read(_devices, user_id)
        if answer is None:
            raise NotFound("This server has no such user.")
        return answer

    async def updates(self, row: DeviceListRow) -> list[JsonObject]:
        """The EDUs that tell other servers of a change of a local user: type and content.

        Where the user has changed more since, the EDU builds upon what nobody has: who gets it fetches the list.
        """
        return await self._database.read(_updates, row.user_id, row.device_id, row.position)


def _devices(tx: Cursor, user_id: str) -> JsonObject | None:
    if not account_table.existing(tx, [user_id]):
        return None
    found = read_local_keys(tx, {user_id: ()}, None)
    keys = found.device_keys.get(user_id)
    devices: list[JsonObject] = []
    for device_id, value in (keys if isinstance(keys, dict) else {}).items():
        if isinstance(value, dict):
            devices.append(_with_name({"device_id": device_id}, value))
    answer: JsonObject = {
        "user_id": user_id,
        "stream_id": device_list_table.stream_of(tx, user_id)[0],
        "devices": list(devices),
    }
    if user_id in found.master_keys:
        answer["master_key"] = found.master_keys[user_id]
    if user_id in found.self_signing_keys:
        answer["self_signing_key"] = found.self_signing_keys[user_id]
    return answer


def _updates(tx: Cursor, user_id: str, device_id: str | None, position: int) -> list[JsonObject]:
    newest, previous = device_list_table.stream_of(tx, user_id)
    before = previous if newest == position else position
    found = read_local_keys(tx, {user_id: () if device_id is None else (device_id,)}, None)
    if device_id is None:
        content: JsonObject = {"user_id": user_id}
        for usage, keys in ((MASTER, found.master_keys), (SELF_SIGNING, found.self_signing_keys)):
            if user_id in keys:
                content[f"{usage}_key"] = keys[user_id]
        return [{"edu_type": SIGNING_KEY_UPDATE, "content": content}] if len(content) > 1 else []
    content = {
        "user_id": user_id,
        "device_id": device_id,
        "stream_id": position,
        "prev_id": [] if before is None else [before],
    }
    if device_table.one(tx, user_id, device_id) is None:
        content["deleted"] = True
    else:
        devices = found.device_keys.get(user_id)
        value = devices.get(device_id) if isinstance(devices, dict) else None
        content = _with_name(content, value if isinstance(value, dict) else None)
    return [{"edu_type": DEVICE_LIST_UPDATE, "content": content}]


def _with_name(content: JsonObject, keys: JsonObject | None) -> JsonObject:
    """With the keys of a device, and its name beside them."""
    if keys is None:
        return content
    unsigned = keys.pop("unsigned", None)
    name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    return {**content, "keys": keys, **({} if name is None else {"device_display_name": name})}
