"""Devices publish their keys. Specification: client-server API, POST /keys/upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.device_keys import DeviceKeys, check_device_keys, check_one_time_key, parse_stored
from homeserver.encryption.refusals import refusing_bad_keys, refusing_changed_keys
from homeserver.runtime.log import Writer
from homeserver.web.access import Requester
from homeserver.web.errors import BadRequest, Forbidden, InvalidParam
from storage import cross_signing as cross_signing_table
from storage import device_keys as device_key_table
from storage import one_time_keys as one_time_key_table
from storage.database import Cursor, Database
from storage.one_time_keys import OneTimeKey
from storage.rows import DeviceListRow, KeyCountsRow
from storage.statements import Statements

MAX_ONE_TIME_KEYS: Final = 1_000
"""Unclaimed keys of one device."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a device uploads; empty where it uploads nothing of a kind."""

    device_keys: JsonObject | None
    one_time_keys: Mapping[str, JsonValue]
    fallback_keys: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CheckedUpload:
    """The same, in order. `device_keys` None: there are none, or none that are new."""

    device_keys: DeviceKeys | None
    one_time_keys: Sequence[OneTimeKey]
    fallback_keys: Sequence[OneTimeKey]


class KeyUploads:
    """Takes keys of devices. All is checked before anything is kept."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def upload(self, who: Requester, upload: Upload) -> dict[str, int]:
        """Keep keys of the requester's device; how many unclaimed one-time keys it has then, by algorithm."""
        if who.device_id is None or not who.device_number:
            raise InvalidParam("Only a device can upload keys, and this access token belongs to none.")
        # In a database thread: fifty signatures take some milliseconds.
        with refusing_bad_keys():
            checked = await self._database.read(check_upload, who.user_id, who.device_id, who.device_number, upload)
        device, keys = who.device_number, checked.device_keys
        if keys is not None:
            json = keys.json
            user_id, device_id = who.user_id, who.device_id

            def change(tx: Statements) -> None:
                device_key_table.put(tx, device, json)
                # What was signed before is not what is there now.
                cross_signing_table.delete_signatures_on(tx, user_id, [device_id])

            await self._writer.append([DeviceListRow(user_id, device_id)], also=[change])
        if not checked.one_time_keys and not checked.fallback_keys:
            return await self._database.read(one_time_key_table.counts, device)
        with refusing_changed_keys():
            counts = await self._database.write(keep_one_time_keys, device, checked)
        await self._writer.append([KeyCountsRow(who.user_id, device)])
        return counts


def check_upload(tx: Cursor, user_id: str, device_id: str, device: int, upload: Upload) -> CheckedUpload:
    """Check everything against each other and against what the device has."""
    stored = device_key_table.one(tx, device)
    return check_keys(tx, user_id, device_id, None if stored is None else parse_stored(stored), upload)


def check_keys(tx: Cursor, user_id: str, device_id: str, known: DeviceKeys | None, upload: Upload) -> CheckedUpload:
    """The same, where it is known which keys the device has."""
    fresh: DeviceKeys | None = None
    if upload.device_keys is not None:
        fresh = check_device_keys(upload.device_keys, user_id, device_id)
        if known is None:
            if cross_signing_table.has_public_key(tx, user_id, device_id):
                # "servers MUST not allow devices to have the same IDs as cross-signing keys"
                raise Forbidden(
                    "A cross-signing key of yours is called like this device: log in with another device id."
                )
        else:
            _refuse_other_identity(known, fresh)
            if known.json == fresh.json:
                fresh = None
    device_keys = fresh or known
    one_time = [OneTimeKey(*check_one_time_key(*each, device_keys)) for each in upload.one_time_keys.items()]
    fallback = [OneTimeKey(*check_one_time_key(*each, device_keys)) for each in upload.fallback_keys.items()]
    if len({key.algorithm for key in fallback}) < len(fallback):
        raise InvalidParam("There can be one fallback key for each algorithm only.")
    return CheckedUpload(fresh, one_time, fallback)


def keep_one_time_keys(tx: Cursor, device: int, checked: CheckedUpload) -> dict[str, int]:
    """Write one-time keys and fallback keys; the counts after that."""
    if not one_time_key_table.lock(tx, device):
        return {}
    if checked.one_time_keys:
        new = one_time_key_table.missing(tx, device, checked.one_time_keys)
        held = one_time_key_table.counts(tx, device)
        if sum(held.values()) + len(new) > MAX_ONE_TIME_KEYS:
            raise InvalidParam(f"A device may have at most {MAX_ONE_TIME_KEYS} one-time keys waiting.")
        if new:
            one_time_key_table.put(tx, device, new)
    if checked.fallback_keys:
        one_time_key_table.put_fallback(tx, device, checked.fallback_keys)
    return one_time_key_table.counts(tx, device)


def _refuse_other_identity(known: DeviceKeys, fresh: DeviceKeys) -> None:
    """The keys of a device are its identity: who lost them is another device."""
    for name, key in known.identity.items():
        if fresh.identity.get(name, key) != key:
            raise BadRequest(f"This device has another {name} already: log in as a new device.", "M_UNKNOWN")
