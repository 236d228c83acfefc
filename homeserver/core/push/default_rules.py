"""The rules that every user has, as the specification gives them, in their order.

Specification: Client-Server API, "Push notifications", "Predefined rules" (v1.19).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from homeserver.core.canonical_json import JsonObject, JsonValue

KINDS = ("override", "content", "room", "sender", "underride")
"""The kinds of rule, in the order in which they are checked."""

MASTER = ".m.rule.master"

THE_USER = "[the user's Matrix ID]"
"""Stands in a default rule for the ID of the user whose rules they are."""

_NOTIFY: JsonValue = "notify"
_SOUND: JsonValue = {"set_tweak": "sound", "value": "default"}
_RING: JsonValue = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT: JsonValue = {"set_tweak": "highlight"}


def _matches(key: str, pattern: str) -> JsonValue:
    return {"kind": "event_match", "key": key, "pattern": pattern}


_TWO_MEMBERS: JsonValue = {"kind": "room_member_count", "is": "2"}


def _rule(rule_id: str, conditions: list[JsonValue], actions: list[JsonValue], *, enabled: bool = True) -> JsonObject:
    return {"rule_id": rule_id, "default": True, "enabled": enabled, "conditions": conditions, "actions": actions}


_OVERRIDE = (
    _rule(MASTER, [], [], enabled=False),
    _rule(".m.rule.suppress_notices", [_matches("content.msgtype", "m.notice")], []),
    _rule(
        ".m.rule.invite_for_me",
        [_matches("type", "m.room.member"), _matches("content.membership", "invite"), _matches("state_key", THE_USER)],
        [_NOTIFY, _SOUND],
    ),
    _rule(".m.rule.member_event", [_matches("type", "m.room.member")], []),
    _rule(
        ".m.rule.is_user_mention",
        [{"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": THE_USER}],
        [_NOTIFY, _SOUND, _HIGHLIGHT],
    ),
    _rule(
        ".m.rule.is_room_mention",
        [
            {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        [_NOTIFY, _HIGHLIGHT],
    ),
    _rule(
        ".m.rule.tombstone", [_matches("type", "m.room.tombstone"), _matches("state_key", "")], [_NOTIFY, _HIGHLIGHT]
    ),
    _rule(".m.rule.reaction", [_matches("type", "m.reaction")], []),
    _rule(".m.rule.room.server_acl", [_matches("type", "m.room.server_acl"), _matches("state_key", "")], []),
    _rule(
        ".m.rule.suppress_edits",
        [{"kind": "event_property_is", "key": "content.m\\.relates_to.rel_type", "value": "m.replace"}],
        [],
    ),
)

_UNDERRIDE = (
    _rule(".m.rule.call", [_matches("type", "m.call.invite")], [_NOTIFY, _RING]),
    _rule(".m.rule.encrypted_room_one_to_one", [_TWO_MEMBERS, _matches("type", "m.room.encrypted")], [_NOTIFY, _SOUND]),
    _rule(".m.rule.room_one_to_one", [_TWO_MEMBERS, _matches("type", "m.room.message")], [_NOTIFY, _SOUND]),
    _rule(".m.rule.message", [_matches("type", "m.room.message")], [_NOTIFY]),
    _rule(".m.rule.encrypted", [_matches("type", "m.room.encrypted")], [_NOTIFY]),
)

DEFAULT_RULES: Mapping[str, Sequence[JsonObject]] = MappingProxyType({"override": _OVERRIDE, "underride": _UNDERRIDE})
"""The default rules of each kind that has any, in order, as JSON. Never to be changed in place."""
