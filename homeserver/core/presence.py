"""What a user's devices and activity say about their presence, and how it is told to others.

Specification: client-server API, "Presence"; server-server API, "Presence".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from homeserver.core.canonical_json import JsonObject, JsonValue

ONLINE: Final = "online"
UNAVAILABLE: Final = "unavailable"
OFFLINE: Final = "offline"
STATES: Final = (OFFLINE, UNAVAILABLE, ONLINE)
"""From the least to the most present."""

IDLE_AFTER_S: Final = 5 * 60.0
"""Without activity for so long, a user is unavailable ("Idle timeout")."""
GRACE_S: Final = 30.0
"""A device is there for so long after its last request has ended: until then the next one should have come."""
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class DeviceSign:
    """What one device said last of its user's presence; `is_open`: a request or a stream of it is under way."""

    says: str
    is_open: bool
    seen_s: float


def presence_of(devices: Iterable[DeviceSign], active_s: float, now_s: float) -> tuple[str, float]:
    """A user's presence, and when it may become another by itself (NEVER: only by what devices do).

    The most present of the devices that are there counts. Times are seconds of a clock that never jumps.
    """
    found, until_s = OFFLINE, NEVER
    for device in devices:
        ends_s = NEVER if device.is_open else device.seen_s + GRACE_S
        if device.says == OFFLINE or ends_s <= now_s:
            continue
        until_s = min(until_s, ends_s)
        if found != ONLINE:
            found = device.says
    if found == ONLINE:
        idle_s = active_s + IDLE_AFTER_S
        if idle_s <= now_s:
            return UNAVAILABLE, until_s
        until_s = min(until_s, idle_s)
    return found, until_s


@dataclass(frozen=True, slots=True)
class Update:
    """The presence of a user of another server, as it came."""

    user_id: str
    presence: str
    status_msg: str | None
    active_ms_ago: int
    currently_active: bool


def read_updates(content: JsonObject, server_name: str) -> list[Update]:
    """The sound updates in the content of an m.presence EDU that are about users of the server it came from."""
    push = content.get("push")
    found = [_read_update(each, server_name) for each in push] if isinstance(push, list) else []
    return [each for each in found if each is not None]


def _read_update(given: JsonValue, server_name: str) -> Update | None:
    if not isinstance(given, dict):
        return None
    user_id, presence, ago_ms = given.get("user_id"), given.get("presence"), given.get("last_active_ago")
    if not isinstance(user_id, str) or not user_id.startswith("@") or user_id.partition(":")[2] != server_name:
        return None
    if not isinstance(presence, str) or presence not in STATES:
        return None
    status_msg = given.get("status_msg")
    return Update(
        user_id=user_id,
        presence=presence,
        status_msg=status_msg if isinstance(status_msg, str) and status_msg else None,
        active_ms_ago=max(0, ago_ms) if isinstance(ago_ms, int) else 0,
        currently_active=given.get("currently_active") is True,
    )
