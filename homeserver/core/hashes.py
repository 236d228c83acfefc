"""Content hashes, reference hashes and the event ids made of them.

Specification: server-server API, "Calculating the content hash for an event" and "Calculating the reference hash for an
event"; rooms/v3 and later, "Event IDs".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import EventId
from homeserver.core.pruning import redact
from homeserver.core.room_rules import RoomRules
from homeserver.core.unpadded_base64 import decode_base64, encode_base64, encode_base64_urlsafe

_NOT_IN_CONTENT_HASH: Final = frozenset(("unsigned", "signatures", "hashes"))


def canonical(value: JsonValue, rules: RoomRules) -> bytes:
    """Canonical JSON as this room version has it; NotCanonical if there is none."""
    return canonical_json.encode_integers(value) if rules.strict_json else canonical_json.encode_lenient(value)


def content_hash(pdu: JsonObject, rules: RoomRules) -> str:
    """The unpadded base64 of the hash over the whole event, as it belongs into `hashes.sha256`."""
    covered = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return encode_base64(hashlib.sha256(canonical(covered, rules)).digest())


def check_content_hash(pdu: JsonObject, rules: RoomRules) -> bool:
    """Whether the content is what the event was signed with; if not, only its redacted form may be used."""
    return is_content_hash(pdu, lambda covered: canonical(covered, rules))


def is_content_hash(pdu: JsonObject, write: Callable[[JsonValue], bytes]) -> bool:
    """The same for those who have at hand what writes the event, see `canonical_json.writer_of`."""
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    covered = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    try:
        return decode_base64(claimed) == hashlib.sha256(write(covered)).digest()
    except ValueError:
        return False


def reference_bytes(pdu: JsonObject, rules: RoomRules) -> bytes:
    """The bytes that the reference hash covers: redacted, without signatures."""
    covered = redact(pdu, rules)
    covered.pop("signatures", None)
    covered.pop("unsigned", None)
    if not rules.event_id_in_pdu:
        covered.pop("event_id", None)
    return canonical(covered, rules)


def reference_hash(pdu: JsonObject, rules: RoomRules) -> bytes:
    """The SHA-256 over the essential part of an event, which other events refer to."""
    return hashlib.sha256(reference_bytes(pdu, rules)).digest()


def event_id_from_hash(digest: bytes, rules: RoomRules) -> EventId:
    """The event id of an event with this reference hash, in room version 3 and later."""
    return EventId("$" + (encode_base64_urlsafe(digest) if rules.event_id_is_url_safe else encode_base64(digest)))


def event_id_of(pdu: JsonObject, rules: RoomRules) -> EventId:
    """The id of an event: what it says (room versions 1 and 2), or its reference hash."""
    if rules.event_id_in_pdu:
        event_id = pdu.get("event_id")
        if not isinstance(event_id, str):
            raise ValueError("the event has no event_id")
        return EventId(event_id)
    return event_id_from_hash(reference_hash(pdu, rules), rules)
