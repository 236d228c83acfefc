"""What it means for a room when its current state becomes another one: members, summary, events to know. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from homeserver.rooms import summaries
from homeserver.rooms.state import StateKey
from storage.rows import EventRow, MemberChange, RoomSummary


@dataclass(slots=True)
class StateChange:
    """A step from one state to another. `events`: what is now at the places that changed."""

    summary: RoomSummary
    events: dict[StateKey, EventRow | None] = field(default_factory=dict)
    members: tuple[MemberChange, ...] = ()


def of(
    changed: Iterable[tuple[EventRow | None, EventRow | None]], summary: RoomSummary, server_name: str, position: int
) -> StateChange:
    """From pairs of the event before and the event now at each place that changed.

    `position`: that of the event by which it came; it stands for member events that are gone without another.
    """
    change = StateChange(summary)
    members: list[MemberChange] = []
    for before, after in changed:
        row = after or before
        if row is None:
            continue
        key = row.event.key
        change.events[key] = after
        if key[0] == "m.room.member":
            was = (before and before.event.membership) or "leave"
            now = (after and after.event.membership) or "leave"
            at = position if after is None else after.position
            members.append(MemberChange(key[1], now, at, key[1].partition(":")[2] == server_name))
            change.summary = summaries.with_membership(change.summary, was, now)
        elif after is not None:
            change.summary = summaries.with_event(change.summary, after.event)
        else:
            change.summary = summaries.without(change.summary, row.event)
    change.members = tuple(members)
    return change
