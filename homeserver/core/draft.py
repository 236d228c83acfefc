"""From what somebody wants to say to a hashed and signed event, in one pass.

Specification: server-server API, "Adding hashes and signatures to outgoing events".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject, encode_trusted
from homeserver.core.event import BadEvent, Event, check_event_size, check_field_size
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.pruning import pruned_content
from homeserver.core.room_rules import EVERY_KEY, RoomRules
from homeserver.core.signatures import Signer
from homeserver.core.unpadded_base64 import encode_base64

_NO_CONTENT: Final = msgspec.Raw(b"{}")
_NO_HASHES: Final[Mapping[EventId, str]] = {}


class Draft(msgspec.Struct, frozen=True):
    """An event before it has a place in the room. `room_id` is None only for what makes a room whose id is a hash."""

    room_id: RoomId | None
    type: str
    sender: UserId
    content: JsonObject
    state_key: str | None = None
    redacts: EventId | None = None


def build(
    draft: Draft,
    rules: RoomRules,
    prev_events: Sequence[EventId],
    auth_events: Sequence[EventId],
    depth: int,
    origin_server_ts: int,
    signer: Signer,
    event_id_for_v1v2: EventId | None = None,
    reference_hashes: Mapping[EventId, str] = _NO_HASHES,
) -> Event:
    """The event that a draft becomes. Raises BadEvent, EventTooLarge or NotCanonical if the draft makes no event.

    Where the room version keeps ids in events, the new id comes from the caller, and `reference_hashes` may have the
    reference hashes (base64) of the events referred to.
    """
    content = draft.content
    if draft.redacts is not None and rules.redacts_in_content:
        content = {**content, "redacts": draft.redacts}
    content_json = msgspec.Raw(hashes.canonical(content, rules))
    depth = min(depth, rules.max_depth)
    fields = _fields(draft, rules, content_json, depth, origin_server_ts, event_id_for_v1v2)
    if rules.references_have_hashes:
        fields["prev_events"] = [_with_hash(event_id, reference_hashes) for event_id in prev_events]
        fields["auth_events"] = [_with_hash(event_id, reference_hashes) for event_id in auth_events]
    else:
        fields["prev_events"] = prev_events
        fields["auth_events"] = auth_events

    content_hash = encode_base64(hashlib.sha256(encode_trusted(fields)).digest())
    fields["hashes"] = {"sha256": content_hash}
    essential = {key: value for key, value in fields.items() if key in rules.keep_top_level}
    essential["content"] = _essential_content(draft.type, content, content_json, rules)
    # The same bytes are signed and make the event id: the event redacted, with hashes, without signatures.
    essential_json = encode_trusted(essential)
    fields["signatures"] = {signer.server: {signer.key.key_id: signer.key.sign_bytes(essential_json)}}
    json = encode_trusted(fields)
    check_event_size(json)

    event_id = event_id_for_v1v2
    if event_id is None or not rules.event_id_in_pdu:
        event_id = hashes.event_id_from_hash(hashlib.sha256(essential_json).digest(), rules)
    return Event(
        rules,
        event_id,
        RoomId("!" + event_id[1:]) if draft.room_id is None else draft.room_id,
        draft.type,
        draft.state_key,
        draft.sender,
        content,
        depth,
        origin_server_ts,
        tuple(prev_events),
        tuple(auth_events),
        draft.redacts if draft.type == "m.room.redaction" else None,
        json,
    )


def _fields(
    draft: Draft,
    rules: RoomRules,
    content_json: msgspec.Raw,
    depth: int,
    origin_server_ts: int,
    event_id: EventId | None,
) -> dict[str, object]:
    """The fields of the event but for references, hashes and signatures."""
    fields: dict[str, object] = {
        "type": draft.type,
        "sender": draft.sender,
        "content": content_json,
        "depth": depth,
        "origin_server_ts": origin_server_ts,
    }
    try:
        check_field_size("type", draft.type)
        if draft.state_key is not None:
            check_field_size("state_key", draft.state_key)
            fields["state_key"] = draft.state_key
    except UnicodeEncodeError:
        raise BadEvent("type and state_key must not hold lone surrogates") from None
    if draft.room_id is not None:
        fields["room_id"] = draft.room_id
    elif not (rules.room_id_is_create_hash and draft.type == "m.room.create"):
        raise BadEvent("the event belongs to no room")
    if draft.redacts is not None and not rules.redacts_in_content:
        fields["redacts"] = draft.redacts
    if rules.event_id_in_pdu:
        if event_id is None:
            raise BadEvent("an event of this room version needs an event ID")
        fields["event_id"] = event_id
    return fields


def _essential_content(event_type: str, content: JsonObject, json: msgspec.Raw, rules: RoomRules) -> object:
    keys = rules.keep_content.get(event_type)
    if keys is None:
        return _NO_CONTENT
    if keys is EVERY_KEY:
        return json
    return msgspec.Raw(hashes.canonical(pruned_content(event_type, content, rules), rules))


def _with_hash(event_id: EventId, reference_hashes: Mapping[EventId, str]) -> list[object]:
    digest = reference_hashes.get(event_id)
    return [event_id, {} if digest is None else {"sha256": digest}]
