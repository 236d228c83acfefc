"""Devices publish their keys. Specification: client-server API, POST /keys/upload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.device_keys import KEY_BYTES, DeviceKeys, Signed, parse_stored, read_device_keys
from homeserver.core.one_time_keys import UploadedKey, read_one_time_keys, verify_keys
from homeserver.core.unpadded_base64 import decode_base64
from homeserver.encryption.key_counts import with_usual
from homeserver.encryption.refusals import refusing_bad_keys, refusing_changed_keys
from homeserver.encryption.stock import HeldKeys, OneTimeKeyStock
from homeserver.runtime.log import Writer
from homeserver.runtime.side_thread import SideThread
from homeserver.users.new_devices import NewDevices
from homeserver.web.access import Requester
from homeserver.web.errors import BadRequest, Forbidden, InvalidParam
from storage import cross_signing as cross_signing_table
from storage import device_keys as device_key_table
from storage import one_time_keys as one_time_key_table
from storage.database import Cursor, Database
from storage.rows import DeviceListRow, Entry, KeyCountsRow
from storage.statements import Statements

MAX_ONE_TIME_KEYS: Final = 1_000
"""Unclaimed keys of one device."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a device uploads; empty where it uploads nothing of a kind."""

    device_keys: JsonObject | None
    one_time_keys: Mapping[str, msgspec.Raw]
    fallback_keys: Mapping[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class CheckedUpload:
    """The same, in order. `device_keys` None: there are none, or none that are new."""

    device_keys: DeviceKeys | None
    one_time_keys: Sequence[UploadedKey]
    fallback_keys: Sequence[UploadedKey]


class KeyUploads:
    """Takes keys of devices. All is checked before anything is kept."""

    def __init__(
        self, database: Database, writer: Writer, stock: OneTimeKeyStock, new_devices: NewDevices, side: SideThread
    ) -> None:
        self._database = database
        self._writer = writer
        self._stock = stock
        self._new_devices = new_devices
        self._side = side

    async def upload(self, who: Requester, upload: Upload) -> dict[str, int]:
        """Keep keys of the requester's device; how many unclaimed one-time keys it has then, by algorithm."""
        if who.device_id is None or not who.device_number:
            raise InvalidParam("Only a device can upload keys, and this access token belongs to none.")
        user_id, device_id, device = who.user_id, who.device_id, who.device_number
        if upload.device_keys is None and not upload.one_time_keys and not upload.fallback_keys:
            held = self._stock.of(device)
            counts = await self._database.read(one_time_key_table.counts, device) if held is None else held.counts()
            return with_usual(counts)

        is_new = self._new_devices.take(device) and not _may_be_key(device_id)
        held = self._stock.begin(device) if is_new else None
        checked: CheckedUpload | None
        # Never in the reactor's thread: fifty signatures take half a millisecond.
        with refusing_bad_keys():
            if held is not None:
                checked = await self._side.do(lambda: check_keys(user_id, device_id, None, False, upload))
            else:
                found, checked = await self._stock.load_beside(
                    [device], lambda tx: check_upload(tx, user_id, device_id, device, upload)
                )
                held = found[device]
        assert checked is not None
        await self._keep(who.user_id, who.device_id, held, checked)
        return with_usual(held.counts())

    async def _keep(self, user_id: str, device_id: str, held: HeldKeys, checked: CheckedUpload) -> None:
        """Write all that is new, in one transaction."""
        device, keys, fallback = held.device, checked.device_keys, checked.fallback_keys
        with refusing_changed_keys():
            new = held.new_of(checked.one_time_keys)
        if held.left + len(new) > MAX_ONE_TIME_KEYS:
            raise InvalidParam(f"A device may have at most {MAX_ONE_TIME_KEYS} one-time keys waiting.")
        entries: list[Entry] = []
        statements: list[Callable[[Statements], object]] = []
        if keys is not None:
            json = keys.json
            entries.append(DeviceListRow(user_id, device_id))
            statements.append(lambda tx: device_key_table.put(tx, device, json))
            # What was signed before is not what is there now.
            statements.append(lambda tx: cross_signing_table.delete_signatures_on(tx, user_id, [device_id]))
        if fallback:
            statements.append(lambda tx: one_time_key_table.put_fallback(tx, device, fallback))
        if new:
            entry, write = self._stock.add(user_id, held, new)
            entries.append(entry)
            statements.append(write)
        elif fallback:
            entries.append(KeyCountsRow({device: user_id}))
        if entries:
            await self._writer.append(entries, also=statements)


def check_upload(tx: Cursor, user_id: str, device_id: str, device: int, upload: Upload) -> CheckedUpload:
    """Check everything against each other and against what the device has."""
    stored, is_taken = device_key_table.of_uploader(tx, device)
    return check_keys(user_id, device_id, None if stored is None else parse_stored(stored), is_taken, upload)


def check_keys(user_id: str, device_id: str, known: DeviceKeys | None, is_taken: bool, upload: Upload) -> CheckedUpload:
    """The same, where it is known which keys the device has, and whether a cross-signing key is called like it."""
    fresh: DeviceKeys | None = None
    signed: Signed | None = None
    if upload.device_keys is not None:
        fresh, signed = read_device_keys(upload.device_keys, user_id, device_id)
        if known is None:
            if is_taken:
                # "servers MUST not allow devices to have the same IDs as cross-signing keys"
                raise Forbidden(
                    "A cross-signing key of yours is called like this device: log in with another device id."
                )
        else:
            _refuse_other_identity(known, fresh)
            if known.json == fresh.json:
                fresh = signed = None
    device_keys = fresh or known
    one_time = read_one_time_keys(upload.one_time_keys, device_keys)
    fallback = read_one_time_keys(upload.fallback_keys, device_keys)
    verify_keys(device_keys, signed, [*one_time, *fallback])
    if len({key.algorithm for key in fallback}) < len(fallback):
        raise InvalidParam("There can be one fallback key for each algorithm only.")
    return CheckedUpload(fresh, one_time, fallback)


def _may_be_key(device_id: str) -> bool:
    """Whether a cross-signing key can be called like that."""
    try:
        return len(decode_base64(device_id)) == KEY_BYTES
    except ValueError:
        return False


def _refuse_other_identity(known: DeviceKeys, fresh: DeviceKeys) -> None:
    """The keys of a device are its identity: who lost them is another device."""
    for name, key in known.identity.items():
        if fresh.identity.get(name, key) != key:
            raise BadRequest(f"This device has another {name} already: log in as a new device.", "M_UNKNOWN")
