"""Dehydrated devices. Outside the specification: MSC3814."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import KEYS
from homeserver.encryption.dehydrated import DehydratedDevices, NewDehydrated, Page
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


class DehydratedBody(msgspec.Struct, frozen=True):
    """A device to be kept."""

    device_data: ObjectField
    device_keys: ObjectField
    device_id: str | None = None
    initial_device_display_name: str | None = None
    one_time_keys: dict[str, msgspec.Raw] | None = None
    fallback_keys: dict[str, msgspec.Raw] | None = None


class DehydratedAnswer(msgspec.Struct, frozen=True):
    """The device that is kept."""

    device_id: str
    device_data: msgspec.Raw


class EventsQuery(msgspec.Struct, frozen=True):
    """Where to go on."""

    next_batch: str | None = None
    limit: int | None = None


class EventsBody(msgspec.Struct, frozen=True):
    """Where to go on."""

    next_batch: str | None = None


@endpoint("PUT", PATH, access=USER, limit=KEYS)
async def put_device(dehydrated: DehydratedDevices, who: Requester, body: DehydratedBody) -> dict[str, str]:
    """Keep a dehydrated device, in place of the one before."""
    new = NewDehydrated(
        body.device_id,
        body.device_data,
        body.initial_device_display_name,
        body.device_keys,
        body.one_time_keys or {},
        body.fallback_keys or {},
    )
    return {"device_id": await dehydrated.put(who.user_id, new)}


@endpoint("GET", PATH, access=USER, limit=KEYS)
async def get_device(dehydrated: DehydratedDevices, who: Requester) -> DehydratedAnswer:
    """The dehydrated device."""
    return DehydratedAnswer(*await dehydrated.current(who.user_id))


@endpoint("DELETE", PATH, access=USER, limit=KEYS)
async def delete_device(dehydrated: DehydratedDevices, who: Requester) -> dict[str, str]:
    """Delete the dehydrated device."""
    return {"device_id": await dehydrated.delete(who.user_id)}


@endpoint("GET", PATH + "/{device_id}/events", access=USER, limit=KEYS)
async def events(dehydrated: DehydratedDevices, who: Requester, device_id: str, query: EventsQuery) -> Page:
    """What the device was sent."""
    return await dehydrated.events(who.user_id, device_id, query.next_batch, query.limit)


@endpoint("POST", PATH + "/{device_id}/events", access=USER, limit=KEYS)
async def events_by_post(
    dehydrated: DehydratedDevices, who: Requester, device_id: str, body: EventsBody | None
) -> Page:
    """The same, as older clients ask for it."""
    return await dehydrated.events(who.user_id, device_id, None if body is None else body.next_batch, None)


ENDPOINTS = endpoints(__name__)
