"""Events as other servers send them, read in one go: format, id, content hash, and what their signatures cover.

Specification: server-server API, "Checks performed on receipt of a PDU", checks 1 to 3. Whose keys are good is the key
ring's to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import cast

import msgspec

from homeserver.core import canonical_json, hashes
from homeserver.core.canonical_json import JsonObject, NotCanonical
from homeserver.core.event import BadEvent, Event, check_event_size, check_format
from homeserver.core.ids import EventId, InvalidId
from homeserver.core.pruning import redact
from homeserver.core.room_rules import RoomRules


class Received(msgspec.Struct, frozen=True):
    """An event in the form in which it is to be used, and what is to be looked at once more: its signatures."""

    event: Event
    signed: bytes
    """What the signatures cover."""
    signatures: Mapping[str, Mapping[str, str]]
    is_as_hashed: bool = True
    """False: its content was not what was hashed, and the event is in its redacted form."""


def receive(pdu: JsonObject, rules: RoomRules) -> Received:
    """The event; in its redacted form if its content is not what was hashed. BadEvent if it is none."""
    if "unsigned" in pdu:
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    try:
        check_format(pdu, rules)
        json, write = canonical_json.write_decoded(pdu, strict=rules.strict_json)
        kept = redact(pdu, rules)
        signatures = kept.pop("signatures", {})
        signed = write(kept)
        if rules.event_id_in_pdu:
            event_id = EventId(cast(str, pdu["event_id"]))
        else:
            # But for an id that has no business there, signatures cover what the reference hash is made of.
            covered = write({k: v for k, v in kept.items() if k != "event_id"}) if "event_id" in kept else signed
            event_id = hashes.event_id_from_hash(hashlib.sha256(covered).digest(), rules)
    except (InvalidId, NotCanonical) as error:
        raise BadEvent(str(error)) from None
    check_event_size(json)
    is_as_hashed = hashes.is_content_hash(pdu, write)
    if is_as_hashed:
        event = Event.from_checked(pdu, json, rules, event_id)
    else:
        kept["signatures"] = signatures
        event = Event.from_checked(kept, write(kept), rules, event_id)
    return Received(event, signed, cast("Mapping[str, Mapping[str, str]]", signatures), is_as_hashed)
