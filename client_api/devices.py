"""Devices. Specification: client-server API, "Device Management"."""

from __future__ import annotations

import msgspec

from homeserver.users.devices import DeviceAnswer, Devices
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER, USER_OR_GUEST, Requester, endpoint, endpoints


class RenameBody(msgspec.Struct, frozen=True):
    """The new name; without one nothing changes."""

    display_name: str | None = None


class DeleteBody(msgspec.Struct, frozen=True):
    """The user's confirmation."""

    auth: ObjectField | None = None


class DeleteManyBody(msgspec.Struct, frozen=True):
    """Which devices, and the user's confirmation."""

    devices: list[str]
    auth: ObjectField | None = None


@endpoint("GET", "/_matrix/client/v3/devices", access=USER_OR_GUEST)
async def every_device(devices: Devices, who: Requester) -> dict[str, list[DeviceAnswer]]:
    """All devices of the user."""
    return {"devices": await devices.every(who)}


@endpoint("GET", "/_matrix/client/v3/devices/{device_id}", access=USER_OR_GUEST)
async def one_device(devices: Devices, who: Requester, device_id: str) -> DeviceAnswer:
    """One device."""
    return await devices.one(who, device_id)


@endpoint("PUT", "/_matrix/client/v3/devices/{device_id}", access=USER_OR_GUEST)
async def rename_device(devices: Devices, who: Requester, device_id: str, body: RenameBody) -> None:
    """Change a device's name."""
    await devices.rename(who, device_id, body.display_name)


@endpoint("DELETE", "/_matrix/client/v3/devices/{device_id}", access=USER)
async def delete_device(devices: Devices, who: Requester, device_id: str, body: DeleteBody | None) -> None:
    """Delete a device."""
    await devices.delete(who, [device_id], None if body is None else body.auth)


@endpoint("POST", "/_matrix/client/v3/delete_devices", access=USER)
async def delete_devices(devices: Devices, who: Requester, body: DeleteManyBody) -> None:
    """Delete several devices."""
    await devices.delete(who, body.devices, body.auth)


ENDPOINTS = endpoints(__name__)
