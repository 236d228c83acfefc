"""Who sets a state to what it is makes no new event: clients and bridges do so often."""

from __future__ import annotations

from homeserver.core import hashes
from homeserver.core.draft import Draft
from homeserver.rooms.plan import RoomPlan
from storage.rows import EventRow


def same_state(room: RoomPlan, draft: Draft) -> EventRow | None:
    """The current state event, if a member of the room only says again what they have said there."""
    row = room.state(draft.type, draft.state_key or "")
    if row is None or row.event.sender != draft.sender or row.redacted_by is not None:
        return None
    content, rules = row.event.content, room.room.rules
    # True and 1 are equal for Python, not in JSON.
    if content != draft.content or hashes.canonical(content, rules) != hashes.canonical(draft.content, rules):
        return None
    return row if room.membership(draft.sender) == "join" else None
