"""Entries for tests of the log."""

from __future__ import annotations

import itertools

import msgspec

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import ROOM_RULES
from storage.rows import AccountDataRow, EventRow, RoomChanges, RoomHead, ToDeviceRow, TypingRow

_numbers = itertools.count(1)


def data(type: str = "m.test", user_id: str = "@romeo:localhost", json: bytes = b"{}") -> AccountDataRow:
    return AccountDataRow(user_id, "", type, json)


def typing(room: int = 1) -> TypingRow:
    return TypingRow(room, ("@romeo:localhost",))


def to_device(device: int, json: bytes = b"{}") -> ToDeviceRow:
    return ToDeviceRow("@romeo:localhost", device, json)


def event(
    room: int = 1,
    *,
    event_id: str | None = None,
    type: str = "m.room.message",
    state_key: str | None = None,
    body: str = "soft, what light",
    is_history: bool = False,
    depth: int = 1,
) -> EventRow:
    """An event that looks like one; nothing in it is signed."""
    name = event_id or f"$event{next(_numbers)}"
    pdu: dict[str, object] = {
        "auth_events": [],
        "content": {"body": body},
        "depth": depth,
        "hashes": {"sha256": "x" * 43},
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": ["$" + "p" * 43],
        "room_id": f"!room{room}:localhost",
        "sender": "@romeo:localhost",
        "signatures": {"localhost": {"ed25519:auto": "s" * 86}},
        "type": type,
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    json = msgspec.json.encode(pdu, order="sorted")
    row = EventRow(room, Event.load(json, ROOM_RULES["11"], EventId(name)), b"r" * 16, is_history=is_history)
    row.device = 7
    row.txn_path = f"send/m.room.message/{name}"
    row.changes = RoomChanges(head=RoomHead((1,), b"r" * 16, depth, 1))
    return row
