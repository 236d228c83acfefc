"""Events as clients get them, as bytes made once for all readers.

`unsigned` differs from reader to reader, so it is put into the finished bytes. Specification: client-server API, "Room
event format" and "Moved redacts key" of rooms/v11.
"""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event

_encoder: Final = msgspec.json.Encoder()


class _ClientEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """The fields in the order in which they are written."""

    type: str
    sender: str
    content: JsonObject
    event_id: str
    origin_server_ts: int
    room_id: str = ""
    state_key: str | None = None
    redacts: str | None = None


class _StrippedEvent(msgspec.Struct, gc=False):
    """Stripped state. Specification: client-server API, "Stripped state"."""

    type: str
    state_key: str
    sender: str
    content: JsonObject


def client_event_bytes(event: Event) -> bytes:
    """The event in client format, without unsigned."""
    return _encoder.encode(_client_event(event, event.room_id))


def client_event_bytes_without_room_id(event: Event) -> bytes:
    """The event as it stands in /sync, which tells the room around it; without unsigned."""
    return _encoder.encode(_client_event(event, ""))


def stripped_event_bytes(event: Event) -> bytes:
    """A state event as those see it who are not in the room, such as in an invite."""
    return _encoder.encode(_StrippedEvent(event.type, event.state_key or "", event.sender, event.content))


def with_unsigned(base: bytes, unsigned: JsonObject | bytes) -> bytes:
    """An event in client format with its unsigned; empty unsigned leaves it as it is."""
    encoded = unsigned if isinstance(unsigned, bytes) else _encoder.encode(unsigned)
    if encoded == b"{}":
        return base
    return b'%b,"unsigned":%b}' % (base[:-1], encoded)


def _client_event(event: Event, room_id: str) -> _ClientEvent:
    content, redacts = event.content, event.redacts
    # Newer room versions have redacts in the content, older ones beside it; clients of either age get both.
    if redacts is not None and "redacts" not in content:
        content = {**content, "redacts": redacts}
    return _ClientEvent(
        event.type, event.sender, content, event.event_id, event.origin_server_ts, room_id, event.state_key, redacts
    )
