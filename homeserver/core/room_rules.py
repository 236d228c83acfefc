"""What each room version changes, a row a version.

Code asks the row (`event.rules.knocking`), never the version number. Specification: rooms/v1 to rooms/v12; the table is
compared with the facts of the specification in tests/spec/test_room_rules.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

EVERY_KEY: Final = ("*",)
DEFAULT_ROOM_VERSION: Final = "12"

MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10
MAX_EVENT_BYTES: Final = 65_536

_VERSION_NAME: Final = re.compile(r"[a-z0-9.\-]{1,32}")


@dataclass(frozen=True, slots=True, eq=False)
class RoomRules:
    """One room version. `keep_content` names content keys, "a.b" the key b inside a, "*" all of them."""

    version: str
    stable: bool

    # Event format
    event_id_in_pdu: bool  # else the event id is the reference hash
    event_id_is_url_safe: bool
    references_have_hashes: bool  # prev_events and auth_events are [id, {"sha256": hash}]
    redacts_in_content: bool
    strict_json: bool
    max_depth: int
    room_id_is_create_hash: bool

    # State resolution: "1", "2" or "2.1"
    state_resolution: str

    # Redaction
    keep_top_level: frozenset[str]
    keep_content: Mapping[str, tuple[str, ...]]

    # Authorisation
    aliases_rule: bool
    redaction_rule: bool  # who may redact is asked by the authorisation rules, not when the redaction is applied
    knocking: bool
    restricted_joins: bool
    knock_restricted_joins: bool
    integer_power_levels: bool
    float_power_levels: bool
    notifications_checked: bool
    creator_in_content: bool
    additional_creators: bool
    infinite_creators: bool
    create_in_auth_events: bool

    # Signatures
    event_id_server_signs: bool
    key_validity_enforced: bool


def evolve(rules: RoomRules, **changes: Any) -> RoomRules:  # the names are checked when the row is made
    """A room version that is like another but for some fields."""
    return replace(rules, **changes)


def is_room_version(text: str) -> bool:
    """Whether the text may name a room version. Specification: rooms, "Room version grammar"."""
    return _VERSION_NAME.fullmatch(text) is not None


def _content(base: Mapping[str, tuple[str, ...]], **changes: tuple[str, ...] | None) -> Mapping[str, tuple[str, ...]]:
    """Another table of kept content keys; an entry of None goes. Keys are event types without "m.room."."""
    table = dict(base)
    for name, keys in changes.items():
        if keys is None:
            del table["m.room." + name]
        else:
            table["m.room." + name] = keys
    return MappingProxyType(table)


_V1_TOP_LEVEL: Final = frozenset(
    ("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events")
    + ("prev_state", "auth_events", "origin", "origin_server_ts", "membership")
)
_V1_CONTENT: Final = _content(
    {},
    member=("membership",),
    create=("creator",),
    join_rules=("join_rule",),
    power_levels=("ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"),
    aliases=("aliases",),
    history_visibility=("history_visibility",),
)

V1: Final = RoomRules(
    version="1",
    stable=True,
    event_id_in_pdu=True,
    event_id_is_url_safe=False,
    references_have_hashes=True,
    redacts_in_content=False,
    strict_json=False,
    max_depth=2**63 - 1,
    room_id_is_create_hash=False,
    state_resolution="1",
    keep_top_level=_V1_TOP_LEVEL,
    keep_content=_V1_CONTENT,
    aliases_rule=True,
    redaction_rule=True,
    knocking=False,
    restricted_joins=False,
    knock_restricted_joins=False,
    integer_power_levels=False,
    float_power_levels=True,
    notifications_checked=False,
    creator_in_content=True,
    additional_creators=False,
    infinite_creators=False,
    create_in_auth_events=True,
    event_id_server_signs=True,
    key_validity_enforced=False,
)
V2: Final = evolve(V1, version="2", state_resolution="2")
V3: Final = evolve(
    V2,
    version="3",
    event_id_in_pdu=False,
    references_have_hashes=False,
    redaction_rule=False,
    event_id_server_signs=False,
)
V4: Final = evolve(V3, version="4", event_id_is_url_safe=True)
V5: Final = evolve(V4, version="5", key_validity_enforced=True)
V6: Final = evolve(
    V5,
    version="6",
    strict_json=True,
    max_depth=2**53 - 1,
    keep_content=_content(V5.keep_content, aliases=None),
    aliases_rule=False,
    float_power_levels=False,
    notifications_checked=True,
)
V7: Final = evolve(V6, version="7", knocking=True)
V8: Final = evolve(
    V7,
    version="8",
    restricted_joins=True,
    keep_content=_content(V7.keep_content, join_rules=("join_rule", "allow")),
)
V9: Final = evolve(
    V8,
    version="9",
    keep_content=_content(V8.keep_content, member=("membership", "join_authorised_via_users_server")),
)
V10: Final = evolve(V9, version="10", knock_restricted_joins=True, integer_power_levels=True)
V11: Final = evolve(
    V10,
    version="11",
    redacts_in_content=True,
    creator_in_content=False,
    keep_top_level=_V1_TOP_LEVEL - {"prev_state", "origin", "membership"},
    keep_content=_content(
        V10.keep_content,
        member=("membership", "join_authorised_via_users_server", "third_party_invite.signed"),
        create=EVERY_KEY,
        power_levels=("ban", "events", "events_default", "invite", "kick", "redact", "state_default", "users")
        + ("users_default",),
        redaction=("redacts",),
    ),
)
V12: Final = evolve(
    V11,
    version="12",
    room_id_is_create_hash=True,
    state_resolution="2.1",
    additional_creators=True,
    infinite_creators=True,
    create_in_auth_events=False,
)

ROOM_RULES: Final[Mapping[str, RoomRules]] = MappingProxyType(
    {rules.version: rules for rules in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)}
)
