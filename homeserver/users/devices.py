"""The devices of a user. Specification: client-server API, "Device Management"."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeserver.core.canonical_json import JsonValue
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Writer
from homeserver.users.credentials import Credentials
from homeserver.users.sessions import MAX_NAME, Sessions
from homeserver.users.sightings import Sightings
from homeserver.web.access import Requester
from homeserver.web.errors import InvalidParam, NotFound
from storage import devices as device_table
from storage.database import Database
from storage.devices import Device
from storage.rows import DeviceListRow

MAX_DELETED = 1000


class DeviceAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device as its user sees it."""

    device_id: str
    # Null rather than left out: matrix-nio takes no list of devices without them.
    display_name: str | None
    last_seen_ip: str | None
    last_seen_ts: int | None
    last_seen_user_agent: str | None = None


class Devices:
    """Lists, renames and deletes devices."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        sessions: Sessions,
        sightings: Sightings,
        credentials: Credentials,
        clock: Clock,
    ) -> None:
        self._database = database
        self._writer = writer
        self._sessions = sessions
        self._sightings = sightings
        self._credentials = credentials
        self._clock = clock

    async def every(self, who: Requester) -> list[DeviceAnswer]:
        """All devices of the user. GET /devices."""
        return [self._shown(each) for each in await self._database.read(device_table.of_user, who.user_id)]

    async def one(self, who: Requester, device_id: str) -> DeviceAnswer:
        """One device. GET /devices/{deviceId}."""
        device = await self._database.read(device_table.one, who.user_id, device_id)
        if device is None:
            raise _unknown(device_id)
        return self._shown(device)

    async def rename(self, who: Requester, device_id: str, display_name: str | None) -> None:
        """Change a device's name; bridges may make the device by this. PUT /devices/{deviceId}."""
        if display_name is not None and len(display_name) > MAX_NAME:
            raise InvalidParam(f"A device's name may have at most {MAX_NAME} characters.")
        if display_name is None:
            known = await self._database.read(device_table.one, who.user_id, device_id) is not None
        else:
            known = await self._database.write(device_table.rename, who.user_id, device_id, display_name)
        if known:
            if display_name is not None:
                await self._writer.append([DeviceListRow(who.user_id, device_id)])
        elif who.appservice_id is not None and len(device_id) <= MAX_NAME:
            await self._database.write(device_table.put, who.user_id, device_id, display_name, self._clock.now_ms())
        else:
            raise _unknown(device_id)

    async def delete(self, who: Requester, device_ids: Sequence[str], auth: JsonValue) -> None:
        """Delete devices, once the user has confirmed it. DELETE /devices/{deviceId}, POST /delete_devices."""
        if len(device_ids) > MAX_DELETED:
            raise InvalidParam(f"At most {MAX_DELETED} devices can be deleted at once.")
        wanted = set(device_ids)
        session = await self._credentials.confirm(who, auth, f"delete devices {' '.join(sorted(wanted))}")
        devices = await self._database.read(device_table.of_user, who.user_id)
        gone = {each.device: each.device_id for each in devices if each.device_id in wanted}
        await self._sessions.delete_devices(who.user_id, gone)
        self._credentials.done(session)

    def _shown(self, device: Device) -> DeviceAnswer:
        seen = self._sightings.latest(device.device)
        if seen is None:
            ip, ts, user_agent = device.last_seen_ip, device.last_seen_ts, device.last_seen_user_agent
        else:
            ip, ts, user_agent = seen.ip, seen.ts, seen.user_agent
        return DeviceAnswer(device.device_id, device.display_name, ip, ts, user_agent or None)


def _unknown(device_id: str) -> NotFound:
    return NotFound(f"You have no device {device_id}.")
