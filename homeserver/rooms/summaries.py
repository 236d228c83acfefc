"""What lists of rooms show of a room, kept with its head: one pure step for each state event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from storage.rows import RoomSummary


def _text(name: str) -> Callable[[JsonObject], str | None]:
    def read(content: JsonObject) -> str | None:
        value = content.get(name)
        return value if isinstance(value, str) and value else None

    return read


_FIELDS: Final[Mapping[str, tuple[str, Callable[[JsonObject], str | None]]]] = MappingProxyType(
    {
        "m.room.name": ("name", _text("name")),
        "m.room.topic": ("topic", _text("topic")),
        "m.room.avatar": ("avatar_url", _text("url")),
        "m.room.canonical_alias": ("canonical_alias", _text("alias")),
        "m.room.join_rules": ("join_rule", _text("join_rule")),
        "m.room.history_visibility": ("history_visibility", _text("history_visibility")),
        "m.room.guest_access": ("guest_access", _text("guest_access")),
        "m.room.create": ("room_type", _text("type")),
        "m.room.encryption": ("encryption", _text("algorithm")),
    }
)


def is_shown(event: Event) -> bool:
    """Whether a state event has something to say to lists of rooms."""
    return event.state_key == "" and event.type in _FIELDS


def with_event(summary: RoomSummary, event: Event) -> RoomSummary:
    """The summary once this state event is in the current state (or is redacted there)."""
    if not is_shown(event):
        return summary
    field, read = _FIELDS[event.type]
    value = read(event.content)
    return summary if getattr(summary, field) == value else _replaced(summary, field, value)


def without(summary: RoomSummary, event: Event) -> RoomSummary:
    """The summary once this state event is gone from the current state and none has taken its place."""
    if not is_shown(event):
        return summary
    field = _FIELDS[event.type][0]
    return summary if getattr(summary, field) is None else _replaced(summary, field, None)


def with_membership(summary: RoomSummary, before: str, after: str) -> RoomSummary:
    """The summary once a member went from one membership to another ('leave' for those who never were there)."""
    joined = summary.joined_members + (after == "join") - (before == "join")
    invited = summary.invited_members + (after == "invite") - (before == "invite")
    if joined == summary.joined_members and invited == summary.invited_members:
        return summary
    return replace(summary, joined_members=joined, invited_members=invited)


def _replaced(summary: RoomSummary, field: str, value: str | None) -> RoomSummary:
    # The names come from the table above; replace() checks them when it runs.
    changes: dict[str, str | None] = {field: value}
    return replace(summary, **changes)  # type: ignore[arg-type]  # mypy takes any key to be any field
