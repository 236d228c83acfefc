"""Reads events as other servers send them: format and content hash. Signatures are the key ring's to check.

Specification: server-server API, "Checks performed on receipt of a PDU", checks 1 to 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from homeserver.core.canonical_json import MAX_FEDERATION_NESTING, BadJson, JsonObject, JsonValue, decode
from homeserver.core.event import BadEvent, Event
from homeserver.core.ids import EventId
from homeserver.core.received import Received, receive
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import BadSignature, KeysAway


class Verifier(Protocol):
    """Checks signatures on events; the key ring does."""

    async def verify_events(self, events: Sequence[Event], *, asks: bool = True) -> Sequence[BadSignature | None]:
        """For each event None, or what is wrong: KeysAway where that cannot be told now. Not `asks`: nobody else is."""
        ...

    async def verify_received(
        self, received: Sequence[Received], *, asks: bool = True
    ) -> Sequence[BadSignature | None]:
        """The same for events as they were received."""
        ...

    async def get_keys_of(self, events: Sequence[Event]) -> None:
        """Have the keys at hand, as far as they are to be had, that these events are signed with."""
        ...


@dataclass(frozen=True, slots=True)
class RoomOfEvents:
    """What must be known of a room to read its events."""

    room_id: str
    rules: RoomRules
    known_pasts: frozenset[EventId] = frozenset()
    """Events that we do not have, and the state after which we know all the same."""
    undecided: dict[EventId, Event] = field(default_factory=dict, compare=False, repr=False)
    """Of those that were read: events whose signers' keys are not to be had now. Kept by whoever may try again."""
    is_hurried: bool = False
    """Others can be asked, or wait: no server is waited for long."""


def read_pdu(pdu: JsonValue, rules: RoomRules) -> Event:
    """The event; in its redacted form if its content is not what was hashed. BadEvent if it is none."""
    if not isinstance(pdu, dict):
        raise BadEvent("an event must be an object")
    return receive(pdu, rules).event


def read_each(pdus: Iterable[JsonValue | bytes], room: RoomOfEvents) -> dict[EventId, Received]:
    """Those of the events, decoded or not, that belong to the room and are well formed, in their order."""
    events: dict[EventId, Received] = {}
    for pdu in pdus:
        try:
            decoded = decode(pdu, MAX_FEDERATION_NESTING) if isinstance(pdu, bytes) else pdu
            if not isinstance(decoded, dict):
                continue
            received = receive(decoded, room.rules)
        except (BadJson, BadEvent):
            continue
        if received.event.room_id == room.room_id:
            events.setdefault(received.event.event_id, received)
    return events


async def verified(received: Sequence[Received], room: RoomOfEvents, verifier: Verifier) -> list[Event]:
    """Those of the events that are rightly signed."""
    problems = await verifier.verify_received(received)
    for each, problem in zip(received, problems, strict=True):
        if isinstance(problem, KeysAway):
            room.undecided[each.event.event_id] = each.event
    return [each.event for each, problem in zip(received, problems, strict=True) if problem is None]


async def read_all(pdus: Sequence[JsonValue], room: RoomOfEvents, verifier: Verifier) -> list[Event]:
    """Those of the events that belong to the room, are well formed and rightly signed, in their order."""
    return await verified(list(read_each(pdus, room).values()), room, verifier)


def objects(value: JsonValue) -> list[JsonObject]:
    """The objects of an array that another server sent; nothing where it is no array."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: JsonValue) -> list[str]:
    """The texts of an array that another server sent; nothing where it is no array."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
