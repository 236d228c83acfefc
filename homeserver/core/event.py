"""Events: what a sender said, in the form of its room version.

An Event never changes, by convention. What we decided about it (accepted, rejected, its position) is told elsewhere.
Specification: rooms/v1 to rooms/v12, "Event format"; client-server API, "Size limits".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject, JsonValue, NotCanonical
from homeserver.core.ids import (
    EventId,
    InvalidId,
    RoomId,
    UserId,
    is_hash_room_id,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from homeserver.core.room_rules import MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_PREV_EVENTS, RoomRules

MAX_FIELD_BYTES: Final = 255
MAX_TIMESTAMP_MS: Final = 2**63 - 1

_decoder: Final = msgspec.json.Decoder(dict[str, object])


class BadEvent(ValueError):
    """The event breaks the format of its room version or a size limit; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EventTooLarge(BadEvent):
    """The whole event is larger than an event may be."""


class Event:
    """One event. `json` is its canonical form without unsigned, as sent to other servers."""

    __slots__ = (
        "rules",
        "event_id",
        "room_id",
        "type",
        "state_key",
        "sender",
        "content",
        "depth",
        "origin_server_ts",
        "prev_events",
        "auth_events",
        "redacts",
        "json",
        "is_state",
        "key",
        "membership",
    )

    def __init__(
        self,
        rules: RoomRules,
        event_id: EventId,
        room_id: RoomId,
        type: str,
        state_key: str | None,
        sender: UserId,
        content: JsonObject,
        depth: int,
        origin_server_ts: int,
        prev_events: tuple[EventId, ...],
        auth_events: tuple[EventId, ...],
        redacts: EventId | None,
        json: bytes,
    ) -> None:
        self.rules = rules
        self.event_id = event_id
        self.room_id = room_id
        self.type = type
        self.state_key = state_key
        self.sender = sender
        self.content = content
        self.depth = depth
        self.origin_server_ts = origin_server_ts
        self.prev_events = prev_events
        self.auth_events = auth_events
        self.redacts = redacts
        self.json = json
        self.is_state = state_key is not None
        self.key = (type, state_key or "")
        """The place of a state event in the state: type and state key."""
        self.membership: str | None = None
        if type == "m.room.member":
            membership = content.get("membership")
            if isinstance(membership, str):
                self.membership = membership

    @classmethod
    def parse(cls, pdu: JsonObject, rules: RoomRules) -> Event:
        """An event from outside, checked against the format of its room version, with its id computed."""
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
        try:
            check_format(pdu, rules)
            event_id = hashes.event_id_of(pdu, rules)
            json = hashes.canonical(pdu, rules)
        except (InvalidId, NotCanonical) as error:
            raise BadEvent(str(error)) from None
        check_event_size(json)
        return cls.from_checked(pdu, json, rules, event_id)

    @classmethod
    def load(cls, json: bytes, rules: RoomRules, event_id: EventId) -> Event:
        """An event from our own storage; nothing is checked or hashed again."""
        return cls.from_checked(cast(JsonObject, _decoder.decode(json)), json, rules, event_id)

    @classmethod
    def from_checked(cls, pdu: JsonObject, json: bytes, rules: RoomRules, event_id: EventId) -> Event:
        """An event of which everything is known: it went through `check_format`, and `json` is its canonical form."""
        # The types state what check_format has made sure of, once, before the event was stored.
        checked: Mapping[str, Any] = pdu
        event_type: str = checked["type"]
        prev_events: list[EventId] = checked["prev_events"]
        auth_events: list[EventId] = checked["auth_events"]
        if rules.references_have_hashes:
            prev_events = [EventId(reference[0]) for reference in prev_events]
            auth_events = [EventId(reference[0]) for reference in auth_events]
        elif list in map(type, (*prev_events[:1], *auth_events[:1])):
            # An invite may have been stored as of another version than its room turned out to have.
            prev_events, auth_events = [], []
        room_id = pdu.get("room_id")
        return cls(
            rules,
            event_id,
            RoomId(room_id) if isinstance(room_id, str) else RoomId("!" + event_id[1:]),
            event_type,
            checked.get("state_key"),
            checked["sender"],
            checked["content"],
            checked["depth"],
            checked["origin_server_ts"],
            tuple(prev_events),
            tuple(auth_events),
            redacts_of(event_type, pdu, rules),
            json,
        )

    def to_pdu(self) -> JsonObject:
        """A fresh copy of the event as other servers get it."""
        return cast(JsonObject, _decoder.decode(self.json))

    def __repr__(self) -> str:
        state_key = "" if self.state_key is None else f" state_key={self.state_key!r}"
        return f"<Event {self.event_id} {self.type}{state_key} by {self.sender}>"


def redacts_of(event_type: str, pdu: JsonObject, rules: RoomRules) -> EventId | None:
    """What an event redacts, read where its room version keeps it."""
    if event_type != "m.room.redaction":
        return None  # the key means nothing elsewhere
    content = pdu.get("content")
    place = content if rules.redacts_in_content else pdu
    redacts = place.get("redacts") if isinstance(place, dict) else None
    return EventId(redacts) if isinstance(redacts, str) else None


def check_event_size(json: bytes) -> None:
    """Raise EventTooLarge if an event with these bytes may not be sent."""
    if len(json) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"the event has {len(json)} bytes; at most {MAX_EVENT_BYTES} are allowed")


def check_field_size(name: str, text: str) -> None:
    """Raise BadEvent if a field is longer than events may have it."""
    if (len(text) if text.isascii() else len(text.encode("utf-8"))) > MAX_FIELD_BYTES:
        raise BadEvent(f"{name} is longer than {MAX_FIELD_BYTES} bytes")


def check_format(pdu: JsonObject, rules: RoomRules) -> None:
    """Raise BadEvent or InvalidId unless a PDU has the format of its room version; each field in turn."""
    event_type = _text(pdu, "type")
    check_field_size("type", event_type)
    parse_user_id(_text(pdu, "sender"))
    if "state_key" in pdu:
        check_field_size("state_key", _text(pdu, "state_key"))
    if not isinstance(pdu.get("content"), dict):
        raise BadEvent("content must be an object")
    if not isinstance(pdu.get("hashes"), dict):
        raise BadEvent("hashes must be an object")
    _check_signatures(pdu.get("signatures"))
    _integer(pdu, "depth", 0, rules.max_depth)
    _integer(pdu, "origin_server_ts", -MAX_TIMESTAMP_MS, MAX_TIMESTAMP_MS)
    _check_references(pdu, "prev_events", MAX_PREV_EVENTS, rules)
    _check_references(pdu, "auth_events", MAX_AUTH_EVENTS, rules)
    if rules.event_id_in_pdu:
        event_id = parse_event_id(_text(pdu, "event_id"))
        if ":" not in event_id:
            raise BadEvent("event_id must name a server in this room version")
    if event_type == "m.room.redaction" and "redacts" in pdu and not rules.redacts_in_content:
        parse_event_id(_text(pdu, "redacts"))
    _check_room_id(pdu, event_type, rules)


def _check_room_id(pdu: JsonObject, event_type: str, rules: RoomRules) -> None:
    if rules.room_id_is_create_hash:
        if event_type == "m.room.create" and pdu.get("state_key") == "":
            if "room_id" in pdu:
                raise BadEvent("a create event must not have a room_id in this room version")
        elif not is_hash_room_id(_text(pdu, "room_id")):
            raise BadEvent("room_id must be the hash of the create event in this room version")
    else:
        room_id = parse_room_id(_text(pdu, "room_id"))
        if ":" not in room_id:
            raise BadEvent("room_id must name a server in this room version")


def _check_signatures(signatures: JsonValue) -> None:
    if not isinstance(signatures, dict):
        raise BadEvent("signatures must be an object")
    for by_server in signatures.values():
        if not isinstance(by_server, dict) or not all(isinstance(value, str) for value in by_server.values()):
            raise BadEvent("signatures must map servers to key IDs to text")


def _check_references(pdu: JsonObject, name: str, limit: int, rules: RoomRules) -> None:
    references = pdu.get(name)
    if not isinstance(references, list):
        raise BadEvent(f"{name} must be an array")
    if len(references) > limit:
        raise BadEvent(f"{name} has more than {limit} entries")
    for reference in references:
        if rules.references_have_hashes:
            if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
                raise BadEvent(f"{name} must hold pairs of event ID and hashes")
            reference = reference[0]
        if not isinstance(reference, str):
            raise BadEvent(f"{name} must hold event IDs")
        parse_event_id(reference)


def _text(pdu: JsonObject, name: str) -> str:
    value = pdu.get(name)
    if not isinstance(value, str):
        raise BadEvent(f"{name} must be a string")
    return value


def _integer(pdu: JsonObject, name: str, lowest: int, highest: int) -> int:
    value = pdu.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadEvent(f"{name} must be an integer")
    if not lowest <= value <= highest:
        raise BadEvent(f"{name} must lie between {lowest} and {highest}")
    return value
