"""What the rules ask of a room's state, and how they say no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from homeserver.core.event import Event

StateKey: TypeAlias = tuple[str, str]
StateMap: TypeAlias = Mapping[StateKey, Event]

CREATE: Final = ("m.room.create", "")
POWER_LEVELS: Final = ("m.room.power_levels", "")
JOIN_RULES: Final = ("m.room.join_rules", "")


class Rejected(Exception):
    """The rules do not allow the event; `reason` is a sentence for whoever sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def membership_of(state: StateMap, user_id: str) -> str:
    """The membership of a user; "leave" for who never was there."""
    event = state.get(("m.room.member", user_id))
    return "leave" if event is None else event.membership or "leave"


def join_rule_of(state: StateMap) -> str:
    """How one gets into the room; "invite" if nothing is said, "" if what is said makes no sense."""
    event = state.get(JOIN_RULES)
    if event is None:
        return "invite"
    join_rule = event.content.get("join_rule")
    return join_rule if isinstance(join_rule, str) else ""


def creators_of(create: Event) -> frozenset[str]:
    """Who made the room. Specification: rooms/v12, "Authorisation rules"; before version 11 the content has it."""
    rules, content = create.rules, create.content
    if rules.creator_in_content:
        creator = content.get("creator")
        return frozenset((creator,)) if isinstance(creator, str) else frozenset()
    if not rules.additional_creators:
        return frozenset((create.sender,))
    others = content.get("additional_creators")
    if not isinstance(others, list):
        return frozenset((create.sender,))
    return frozenset((create.sender, *(user_id for user_id in others if isinstance(user_id, str))))
