"""Dehydrated devices: a user's device that has keys but no session, so that messages reach those who are logged out.

Outside the specification: MSC3814. The next client of the user takes it over, reads its messages, and deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.encryption.refusals import refusing_bad_keys
from homeserver.encryption.uploads import MAX_ONE_TIME_KEYS, CheckedUpload, Upload, check_keys
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring, Writer
from homeserver.users.secret_tokens import new_device_id
from homeserver.users.sessions import delete_devices
from homeserver.web.errors import Forbidden, InvalidParam, MissingParam, NotFound
from storage import cross_signing as cross_signing_table
from storage import dehydrated_devices as dehydrated_table
from storage import device_keys as device_key_table
from storage import devices as device_table
from storage import one_time_keys as one_time_key_table
from storage import to_device as to_device_table
from storage.database import Cursor, Database
from storage.dehydrated_devices import Dehydrated
from storage.rows import DeviceListRow
from storage.statements import Statements

MAX_DATA_BYTES: Final = 65_536
MAX_NAME: Final = 255
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class NewDehydrated:
    """What a client uploads. `device_id` None: one is chosen."""

    device_id: str | None
    device_data: JsonObject
    display_name: str | None
    device_keys: JsonObject
    one_time_keys: Mapping[str, msgspec.Raw]
    fallback_keys: Mapping[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Page:
    """Messages to the device, and where to go on."""

    events: list[msgspec.Raw]
    next_batch: str


class DehydratedDevices:
    """Keeps the dehydrated device of each user, and gives out what it was sent."""

    def __init__(self, database: Database, writer: Writer, ring: Ring, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._ring = ring
        self._clock = clock

    async def current(self, user_id: str) -> tuple[str, msgspec.Raw]:
        """Id and data of the device."""
        found = await self._database.read(dehydrated_table.of_user, user_id)
        if found is None:
            raise _none()
        return found.device_id, msgspec.Raw(found.device_data)

    async def put(self, user_id: str, new: NewDehydrated) -> str:
        """Make a dehydrated device; the one before goes. The id of the device."""
        device_data = msgspec.json.encode(new.device_data)
        device_id = new.device_id or new_device_id()
        if len(device_data) > MAX_DATA_BYTES or len(device_id) > MAX_NAME or len(new.display_name or "") > MAX_NAME:
            raise InvalidParam(
                f"device_data may have {MAX_DATA_BYTES} bytes, device_id and name {MAX_NAME} characters."
            )
        upload = Upload(new.device_keys, new.one_time_keys, new.fallback_keys)
        with refusing_bad_keys():
            before, checked = await self._database.read(_check, user_id, device_id, upload)
        if len(checked.one_time_keys) > MAX_ONE_TIME_KEYS:
            raise InvalidParam(f"A device may have at most {MAX_ONE_TIME_KEYS} one-time keys waiting.")
        keys = checked.device_keys
        if keys is None:
            raise MissingParam("A dehydrated device needs device_keys.")
        json = keys.json
        device = await self._database.write(
            _make, user_id, device_id, new.display_name, self._clock.now_ms(), before, checked
        )

        def change(tx: Statements) -> None:
            if before is not None:
                delete_devices(tx, [before.device])
            device_key_table.put(tx, device, json)
            cross_signing_table.delete_signatures_on(tx, user_id, [device_id])
            dehydrated_table.put(tx, user_id, device, device_data)

        entries = [DeviceListRow(user_id, device_id)]
        if before is not None and before.device_id != device_id:
            entries.append(DeviceListRow(user_id, before.device_id))
        await self._writer.append(entries, also=[change])
        return device_id

    async def delete(self, user_id: str) -> str:
        """Delete the device; its id."""
        found = await self._database.read(dehydrated_table.of_user, user_id)
        if found is None:
            raise _none()
        device = found.device
        await self._writer.append(
            [DeviceListRow(user_id, found.device_id)], also=[lambda tx: delete_devices(tx, [device])]
        )
        return found.device_id

    async def events(self, user_id: str, device_id: str, since: str | None, limit: int | None) -> Page:
        """What the device was sent, a page at a time; it stays until the device is deleted."""
        found = await self._database.read(dehydrated_table.of_user, user_id)
        if found is None or found.device_id != device_id:
            raise _none()
        after = _position(since)
        rows = await self._database.read(
            to_device_table.waiting, found.device, after, self._ring.head, max(1, min(limit or PAGE, PAGE))
        )
        return Page([msgspec.Raw(row.json) for row in rows], f"d{rows[-1].position if rows else after}")


def _check(tx: Cursor, user_id: str, device_id: str, upload: Upload) -> tuple[Dehydrated | None, CheckedUpload]:
    """The dehydrated device that there is, and what is uploaded, found to be in order."""
    before = dehydrated_table.of_user(tx, user_id)
    held = device_table.one(tx, user_id, device_id)
    if held is not None and (before is None or before.device != held.device):
        raise Forbidden("A device with a session has this id: a dehydrated device needs one of its own.")
    is_taken = cross_signing_table.has_public_key(tx, user_id, device_id)
    return before, check_keys(user_id, device_id, None, is_taken, upload)


def _make(
    tx: Cursor,
    user_id: str,
    device_id: str,
    display_name: str | None,
    now_ms: int,
    before: Dehydrated | None,
    checked: CheckedUpload,
) -> int:
    """The number of the new device; nobody sees it before its keys are there."""
    if before is not None and before.device_id == device_id:
        delete_devices(tx, [before.device])
    device, _ = device_table.put(tx, user_id, device_id, display_name, now_ms)
    one_time_key_table.insert(tx, device, one_time_key_table.batches(0, checked.one_time_keys))
    if checked.fallback_keys:
        one_time_key_table.put_fallback(tx, device, checked.fallback_keys)
    return device


def _position(since: str | None) -> int:
    if since is None or since == "":
        return 0
    digits = since.removeprefix("d")
    if digits == since or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise InvalidParam("next_batch must be what an earlier answer named.")
    return int(digits)


def _none() -> NotFound:
    return NotFound("You have no such dehydrated device.")
