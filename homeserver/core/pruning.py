"""The redaction algorithm: what every server keeps of an event, and what hashes and signatures cover.

Specification: rooms/v1 to rooms/v12, "Redactions". What happens when somebody redacts is in redaction.py.
"""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.room_rules import EVERY_KEY, RoomRules


def redact(pdu: JsonObject, rules: RoomRules) -> JsonObject:
    """What the redaction algorithm of a room version leaves of a PDU; the PDU stays as it is."""
    keep = rules.keep_top_level
    kept = {key: value for key, value in pdu.items() if key in keep}
    content = pdu.get("content")
    kept["content"] = pruned_content(pdu.get("type"), content if isinstance(content, dict) else {}, rules)
    return kept


def pruned_content(event_type: JsonValue, content: JsonObject, rules: RoomRules) -> JsonObject:
    """The content keys that survive a redaction."""
    keys = rules.keep_content.get(event_type) if isinstance(event_type, str) else None
    if keys is None:
        return {}
    if keys is EVERY_KEY:
        return content
    kept: JsonObject = {}
    for key in keys:
        outer, _, inner = key.partition(".")
        if outer not in content:
            continue
        value = content[outer]
        if not inner:
            kept[outer] = value
        elif isinstance(value, dict):
            kept[outer] = {inner: value[inner]} if inner in value else {}
    return kept
